/* Changes of topics' and groups' attributes: Apache's text "+key=value,-key" and
 * the rules for each key (AttributeParser, AttributeUtil, TopicAttributes,
 * SubscriptionGroupAttributes of 5.5.0), with our own "mqfs.owner" among them. */
#ifndef BROKER_ATTRIBUTES_H
#define BROKER_ATTRIBUTES_H

#include "broker/meta.h"

enum attribute_of { ATTRIBUTES_OF_TOPIC, ATTRIBUTES_OF_GROUP };

/* Applies text to the list, which is spoilt when it fails. `create`: only additions are accepted. 0; -EINVAL with a
 * sentence: broken text, unknown key, value that the key does not take, a key that may not change any more, or a
 * feature that is not here. */
int attributes_change(struct attribute **list, enum attribute_of of, bool create, struct str text,
                      const struct broker_config *conf, struct fault *f);
/* Sets the owner; empty: nobody. 0, -EINVAL or -ENOMEM. */
int owner_change(struct attribute **list, const char *owner, struct fault *f);
/* The text for a JSON object {"+key":"value"} as code 18's and 200's bodies carry it. 0, or -EINVAL (values that the text cannot say). */
int attributes_text(const struct json *map, struct buf *out, struct fault *f);

#endif
