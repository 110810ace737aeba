/* One remoting command: what a frame says. Both header serializations.
 *
 * frame   = total:int32 (bytes after itself) | type:1 headerLen:3 | header | body
 * header  = JSON text (type 0) or Apache's binary form (type 1)
 * Source: Apache NettyDecoder, RemotingCommand, RocketMQSerializable (5.5.0).
 *
 * A decoded command points into the frame's bytes and into itself; it lives as
 * long as both. Decoding allocates nothing; JSON texts are unescaped in place,
 * so the frame must be writable and is spent afterwards. */
#ifndef COMMON_REMOTING_COMMAND_H
#define COMMON_REMOTING_COMMAND_H

#include "common/buf.h"
#include "common/fault.h"
#include "common/remoting/codes.h"

#define FRAME_MAX 16777216          /* NettyDecoder's frameMaxLength, the word itself included */
#define COMMAND_EXT_MAX 64          /* ext fields a header may have; more is a bad frame */

enum { SERIALIZE_JSON = 0, SERIALIZE_ROCKETMQ = 1 };
enum { FLAG_RESPONSE = 1, FLAG_ONEWAY = 2 };

struct ext {
    struct str k, v;
};

struct command {
    int32_t code;
    int32_t opaque;
    int32_t flag;
    int16_t version;
    uint8_t language;
    uint8_t serialize;              /* how it came, or how to encode it */
    struct str remark;              /* p NULL: none */
    unsigned n_ext;
    struct ext ext[COMMAND_EXT_MAX];
    struct str body;
};

/* How long the frame at p is, the first word included: 0 when fewer than 4 of
 * the n bytes are there; -EBADMSG when the word is below 4 or above max. */
int64_t frame_length(const char *p, size_t n, size_t max);

/* Decodes a whole frame (len from frame_length). 0 or -EBADMSG. When the frame
 * was broken only past its opaque, cmd->opaque and flag are still what it said,
 * else 0. */
int command_decode(char *frame, size_t len, struct command *cmd);

/* Value of an ext field; p NULL when absent. */
struct str command_ext(const struct command *cmd, const char *name);

/* Appends one encoded frame to out; false when memory ran out (out is then failed). extra_body bytes are counted in
 * the frame's length but must be sent after it by the caller (extents of the
 * log that are never copied). */
bool command_encode(struct buf *out, const struct command *cmd, size_t extra_body);

/* Adds an ext field to a command being built; the texts must outlive the encode.
 * false when it is full. The numeric form writes its digits into scratch, which
 * must have 21 bytes and outlive the encode. */
bool command_add(struct command *cmd, const char *name, struct str value);
bool command_add_i64(struct command *cmd, const char *name, int64_t v, char scratch[21]);

/* ---- typed headers --------------------------------------------------------
 * A request's header fields as rows; one loop decodes them all into a struct. */
enum field_type { FIELD_STR, FIELD_I32, FIELD_I64, FIELD_BOOL };

struct field {
    const char *name;
    enum field_type type;
    unsigned short at;              /* offsetof in the header struct */
    bool required;
    const char *def;                /* text of the default; NULL: zero / absent (str.p NULL) */
};

/* Fills hdr (zeroed here, size bytes) from cmd's ext fields. Numbers and booleans
 * must be just that. 0, or -EINVAL with the field's name in f and RC_INVALID_PARAMETER... a
 * required field that is absent says so. Unknown ext fields are ignored. */
int fields_decode(const struct field *rows, size_t n, const struct command *cmd, void *hdr,
                  size_t size, struct fault *f);
#define FIELDS_DECODE(rows, cmd, hdr, f) \
    fields_decode(rows, sizeof(rows) / sizeof((rows)[0]), cmd, hdr, sizeof(*(hdr)), f)

#endif
