/* Delay levels: SCHEDULE_TOPIC_XXXX, one queue a level; due messages go to the
 * topic they were meant for. Progress is kept in delayOffset.json. One thread,
 * which sleeps until the next message is due.
 * Source: Apache ScheduleMessageService, HookUtils (5.5.0). */
#ifndef BROKER_SCHEDULE_H
#define BROKER_SCHEDULE_H

#include "broker/state.h"

int schedule_open(struct broker *b, struct schedule **out, struct fault *f);
int schedule_run(struct schedule *s);            /* starts delivery */
void schedule_close(struct schedule *s);         /* stops it */
void schedule_free(struct schedule *s);

/* delayOffset.json, for the saver: {"dataVersion":{..},"offsetTable":{1:10,2:0}}, level -> next queue offset to
 * deliver. Encode waits until the log has on disk what the offsets count; out is failed when it cannot be. */
int64_t schedule_changes(struct schedule *s);
void schedule_encode(struct schedule *s, struct buf *out, bool pretty);
int schedule_decode(struct schedule *s, struct str text);       /* 0 or -EBADMSG */

/* The level that a DELAY property asks for: 0 none (absent, 0 or negative), at most the highest there is, -EINVAL
 * not a number. */
int schedule_level(const struct schedule *s, struct str delay);
/* Puts a message aside until its level's time is over: appends its form for the schedule topic (properties
 * REAL_TOPIC, REAL_QID). Under meta_read. 0 or -errno with the wire's code in f. Any thread. */
int schedule_append(struct schedule *s, const struct message *m, int level, struct store_put *out, struct fault *f);

/* Progress of a level, for runtime values: next offset to deliver and the queue's end. false: no such level, or
 * nothing was ever delivered from it. */
bool schedule_progress(struct schedule *s, int level, int64_t *offset, int64_t *max);

#endif
