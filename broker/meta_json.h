/* Shared by meta_json.c, meta_json_groups.c and the group verbs. */
#ifndef BROKER_META_JSON_H
#define BROKER_META_JSON_H

#include "broker/meta.h"

void attributes_json(struct json_writer *w, const struct attribute *list);     /* key "attributes" and its object */
int attributes_read(const struct json *j, struct attribute **list);            /* j's member "attributes"; 0 or -ENOMEM */
/* Parses a file and finds its table (NULL when it has none). 0, -EBADMSG or -ENOMEM. */
int table_parse(struct arena *a, struct str text, const char *table, const struct json **out, const struct json **top);

/* A group's settings without name, attributes and bindings; what the object lacks keeps g's value. 0 or -ENOMEM. */
int group_read(struct group *g, const struct json *j);
/* Adds the bindings of its subscriptionDataSet; illegal ones are logged and left out. 0 or -ENOMEM. */
int group_read_bindings(struct group *g, const struct json *j);
void forbidden_json(struct json_writer *w, const char *text);   /* key "forbiddenTable" and its object; text NULL: empty */

#endif
