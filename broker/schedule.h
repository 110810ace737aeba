/* Delay levels: SCHEDULE_TOPIC_XXXX, one queue a level; due messages go to the
 * topic they were meant for. delayOffset.json. One thread.
 * Source: Apache ScheduleMessageService, HookUtils (5.5.0). */
#ifndef BROKER_SCHEDULE_H
#define BROKER_SCHEDULE_H

#include "broker/state.h"

int schedule_open(struct broker *b, struct schedule **out, struct fault *f);
int schedule_run(struct schedule *s);            /* starts delivery */
void schedule_close(struct schedule *s);         /* stops delivery; its offsets can still be encoded */
void schedule_free(struct schedule *s);          /* after schedule_close; s may never have run */
int64_t schedule_changes(struct schedule *s);    /* for the saver */
void schedule_encode(struct schedule *s, struct buf *out, bool pretty);
int schedule_decode(struct schedule *s, struct str text);

/* Turns a message with a DELAY property > 0 into its form for the schedule topic: topic, queue (level - 1) and
 * properties REAL_TOPIC, REAL_QID, built in scratch. false when it has no delay level. */
bool schedule_transform(struct schedule *s, struct message *m, struct buf *scratch);

#endif
