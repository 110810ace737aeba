/* Handlers of messages on their way: send, send back, pull, view. */
#ifndef BROKER_DATAPATH_H
#define BROKER_DATAPATH_H

#include "broker/state.h"

void op_send_message(struct request *r);              /* 10 */
void op_send_message_v2(struct request *r);           /* 310, and 320 with a batch body */
void op_consumer_send_msg_back(struct request *r);    /* 36 */
void op_pull_message(struct request *r);              /* 11, 361 */
void op_view_message_by_id(struct request *r);        /* 33 */
void op_query_message(struct request *r);             /* 12 */

/* A message the broker itself stores (retry, delay, dead letter): no rights are asked, %RETRY% and %DLQ% topics are made
 * when missing (so not from a network loop). out may be NULL. 0 or -errno. */
int broker_put_internal(struct broker *b, const struct message *m, struct store_put *out, struct fault *f);

#endif
