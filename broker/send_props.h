/* The properties of a message that is being sent: what the broker reads in them,
 * and the text that is stored. Private to the send handlers.
 * Source: Apache SendMessageProcessor, AbstractSendMessageProcessor.buildMsgContext (5.5.0). */
#ifndef BROKER_SEND_PROPS_H
#define BROKER_SEND_PROPS_H

#include "broker/config.h"
#include "common/message.h"

struct send_props {
    /* Values as they came (p NULL: absent); of several with one name the last. */
    struct str uniq_key, tags, keys, wait, delay, tran_msg, inner_num;
    struct str timer_deliver_ms, timer_delay_sec, timer_delay_ms, timer_out_ms, timer_del_uniqkey;
    bool has_uniq_key;
    size_t n;
    char text[PROPERTIES_MAX];       /* what will be stored */
};

/* Reads them in one pass and copies what is stored as it came: all but broken entries and those the broker sets or
 * removes itself. 0 or -EMSGSIZE with f. The values point into `properties`. dead: on its way to a dead-letter topic,
 * where DELAY is -1. */
int send_props_read(struct send_props *p, struct str properties, bool dead, struct fault *f);
/* Adds what the broker adds: MSG_REGION, TRACE_ON, CLUSTER, and UNIQ_KEY when it was missing. The same dead. */
int send_props_finish(struct send_props *p, const struct broker_config *conf, struct str uniq_key, bool dead,
                      struct fault *f);

#endif
