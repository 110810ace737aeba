/* A message: its fields, its property text, its record in the commit log (which
 * is also what a pull answers), and the batch body of a send.
 * Source: Apache MessageDecoder, MessageExtEncoder, MessageSysFlag, MessageConst (5.5.0). */
#ifndef COMMON_MESSAGE_H
#define COMMON_MESSAGE_H

#include <netinet/in.h>
#include "common/buf.h"
#include "common/fault.h"

#define MESSAGE_MAGIC_V1 0xDAA320A7u
#define MESSAGE_MAGIC_V2 0xDAA320ABu      /* topic length is int16: topics longer than 127 bytes */
#define BLANK_MAGIC 0xCBD43194u           /* closes a commit log file */
#define MESSAGE_MIN_SIZE 91               /* smallest record: fixed fields, IPv4, empty topic: see message.c */
#define RECORD_BLANK_MIN 8                /* totalSize and magic; what follows is undefined */
#define PROPERTIES_MAX 32767

enum {
    SYSFLAG_COMPRESSED = 0x1,
    SYSFLAG_MULTI_TAGS = 0x2,
    SYSFLAG_TRANS_MASK = 0xC, SYSFLAG_TRANS_PREPARED = 0x4, SYSFLAG_TRANS_COMMIT = 0x8, SYSFLAG_TRANS_ROLLBACK = 0xC,
    SYSFLAG_BORNHOST_V6 = 0x10,
    SYSFLAG_STOREHOST_V6 = 0x20,
    SYSFLAG_NEED_UNWRAP = 0x40,
    SYSFLAG_INNER_BATCH = 0x80,
};

struct host {
    uint8_t ip[16];          /* IPv4: the first 4 */
    bool v6;
    int32_t port;
};
struct host host_of(const struct sockaddr_storage *sa);     /* IPv4-mapped IPv6 becomes IPv4 */
void host_text(const struct host *h, char out[64]);         /* "192.0.2.7:5000", "[2001:db8::1]:5000" */

struct message {
    int32_t queue_id;
    int32_t flag;
    int64_t queue_offset;
    int64_t physical_offset;
    int32_t sys_flag;
    int64_t born_timestamp;      /* ms */
    struct host born_host;
    int64_t store_timestamp;     /* ms */
    struct host store_host;
    int32_t reconsume_times;
    int64_t prepared_transaction_offset;
    struct str body;             /* as stored: maybe compressed */
    struct str topic;
    struct str properties;       /* name 0x01 value 0x02 ... */
    uint32_t body_crc;           /* of the record; decode only */
    uint32_t size;               /* of the record; decode only */
};

/* Bytes the record of m will take. */
size_t message_record_size(const struct message *m);
/* CRC-32 of a body as records keep it: without the top bit, 0 for an empty one. */
uint32_t message_body_crc(struct str body);
/* Writes the record of m (all its fields, queue and physical offset included) at p, which has
 * message_record_size(m) bytes. body_crc is computed here unless crc_known, then m->body_crc is taken.
 * The IPv6 bits of sys_flag follow the hosts. Topic and properties must be within their limits. */
void message_record_put(char *p, const struct message *m, bool crc_known);
/* Where those fields stand in a record that message_record_put made, so that the append can
 * fill them in under the lock, after everything else was prepared outside of it. */
#define RECORD_AT_MAGIC 4
#define RECORD_AT_QUEUE_OFFSET 20
#define RECORD_AT_PHYSICAL_OFFSET 28
#define RECORD_AT_SYS_FLAG 36
#define RECORD_AT_STORE_TIMESTAMP(born_v6) ((born_v6) ? 68 : 56)

/* Decodes one record of at most n bytes. The texts of m point into it. 0: a message; 1: the blank
 * that closes a file (m->size is its length); -EBADMSG: neither (bad magic, sizes that do not add
 * up, or with check_crc a body whose CRC differs). */
int message_record_get(const char *p, size_t n, bool check_crc, struct message *m);

/* Whether n bytes at p are one record: magic known, parts that add up to n. Decodes nothing; n at least 8. */
bool message_record_fits(const char *p, size_t n);

/* ---- properties ---- */
/* Value of a property; p NULL when absent. */
struct str prop_get(struct str properties, const char *name);
/* Appends NAME 0x01 VALUE 0x02. */
void prop_put(struct buf *out, const char *name, struct str value);
void prop_put_i64(struct buf *out, const char *name, int64_t value);
/* Appends all of properties but the named ones (names: NULL-terminated list). */
void prop_copy_without(struct buf *out, struct str properties, const char *const *names);
/* Walks: *pos starts 0; false at the end. Entries without a name or value are skipped, as Apache skips them. */
bool prop_next(struct str properties, size_t *pos, struct str *name, struct str *value);

/* The next word of a KEYS text, which is cut off it; empty between two blanks. */
struct str message_next_key(struct str *keys);
/* Does is(arg, key) say yes to a word of KEYS, or to the unique id? */
bool message_any_key(const struct message *m, bool (*is)(void *arg, struct str key), void *arg);
/* Is key a word of KEYS, or the unique id? */
bool message_has_key(const struct message *m, struct str key);
/* int64 tag code that a consume queue keeps: Java hash of TAGS, 0 without. */
int64_t message_tags_code(struct str properties);

/* ---- the body of a batch send (code 320, or 310 with m=true) ----
 * repeated: totalSize:4 magic:4 bodyCRC:4 flag:4 bodyLen:4 body propertiesLen:2 properties */
struct batch_item {
    int32_t flag;
    struct str body, properties;
};
/* *pos starts 0. 1: an item; 0: the end; -EBADMSG. */
int batch_next(struct str body, size_t *pos, struct batch_item *out);

/* ---- ids ---- */
/* Offset message id: hex of store host and commit log offset; 32 characters (56 for IPv6). */
void offset_id_text(const struct host *store_host, int64_t physical_offset, char out[64]);
int offset_id_parse(struct str id, struct host *store_host, int64_t *physical_offset);   /* 0 or -EINVAL */
/* A client-style unique id for messages that came without UNIQ_KEY; 32 characters and NUL. Thread-safe. */
void unique_id_text(const struct host *host, char out[40]);

#endif
