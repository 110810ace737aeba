/* The key-value store: namespace -> key -> value, in kvConfig.json.
 * Source: Apache KVConfigManager, KVConfigSerializeWrapper (5.5.0).
 *
 * The file is written first, then memory changes: what a reader saw survives.
 * Locks: `writing` lets one change at a time write the file; `lock` guards the
 * table, is taken inside it and never held while writing. Private to namesrv/. */
#ifndef NAMESRV_KV_H
#define NAMESRV_KV_H

#include "common/buf.h"
#include "common/fault.h"

#define KV_ORDER_TOPICS "ORDER_TOPIC_CONFIG"     /* the namespace that clients and brokers know */
#define KV_NAME_MAX 1024                         /* bytes of a namespace or key */
#define KV_VALUE_MAX 65536
#define KV_ENTRIES_MAX 100000

struct kv;

/* Reads the file at path, when there is one. 0 or -errno with f: a broken file is not overwritten, it stops the start. */
int kv_open(const char *path, struct kv **out, struct fault *f);
void kv_close(struct kv *kv);

/* Durable before they return; not from a network loop. -EINVAL (empty or too long), -ENOSPC (too many), or -errno of
 * the file: nothing changed then. kv_delete: -ENOENT when it was not there. */
int kv_put(struct kv *kv, struct str space, struct str key, struct str value, struct fault *f);
int kv_delete(struct kv *kv, struct str space, struct str key, struct fault *f);

int kv_get(struct kv *kv, struct str space, struct str key, struct buf *value);      /* appends; 0 or -ENOENT */
int kv_space_json(struct kv *kv, struct str space, struct buf *out);                 /* KVTable; 0 or -ENOENT */

#endif
