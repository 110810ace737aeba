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
    struct str k, v;                /* to be encoded: k is a name that JSON need not escape */
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
    struct str body;                /* p NULL: none */
};

/* How long the frame at p is, the first word included: 0 when fewer than 4 of
 * the n bytes are there; -EBADMSG when the word is below 4 or above max. */
int64_t frame_length(const char *p, size_t n, size_t max);

/* Decodes a whole frame (len from frame_length). 0 or -EBADMSG. When the frame
 * was broken only past its opaque, cmd->opaque and flag are still what it said,
 * else 0. Like Apache: ext fields that are null (in binary also: empty) are
 * absent; of two with one name the last counts; a value may be a bare number or
 * true (its text) or an object (its JSON); a version that no int16 holds is the
 * nearest that it does. */
int command_decode(char *frame, size_t len, struct command *cmd);

/* Value of an ext field; p NULL when absent. */
struct str command_ext(const struct command *cmd, const char *name);

/* Appends one encoded frame to out. extra_body bytes are counted in the frame's
 * length but must be sent after it by the caller (extents of the log that are
 * never copied). Ext fields with a NULL p are left out. What the binary header
 * cannot say (a code beyond int16, a key beyond 32767 bytes) goes out as JSON.
 * Invalid UTF-8 becomes U+FFFD in JSON, and goes out as it is in binary.
 * false, and nothing appended, when memory ran out (out is then failed) or when
 * the header is past its 24 bits of length or the frame past 31. */
bool command_encode(struct buf *out, const struct command *cmd, size_t extra_body);

/* Adds an ext field to a command being built; the texts must outlive the encode.
 * false when it is full. The numeric form writes its digits into scratch, which
 * must have 21 bytes and outlive the encode. */
static inline bool command_add(struct command *cmd, const char *name, struct str value)
{
    if (cmd->n_ext >= COMMAND_EXT_MAX)
        return false;
    cmd->ext[cmd->n_ext++] = (struct ext){str_of(name), value};
    return true;
}
static inline bool command_add_i64(struct command *cmd, const char *name, int64_t v, char scratch[21])
{
    return command_add(cmd, name, str_n(scratch, fmt_i64(scratch, v)));
}

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

/* Fills hdr (zeroed here, size bytes) from cmd's ext fields; the members are
 * struct str, int32_t, int64_t, bool. At most FIELDS_MAX rows. Numbers are as
 * Integer.parseInt and Long.parseLong take them; "true" in any case is true, all
 * else false (Boolean.parseBoolean). Unknown ext fields are ignored. 0, or
 * -EINVAL with RC_INVALID_PARAMETER and the field's name in f: not a number, or
 * required and absent. */
#define FIELDS_MAX 64
int fields_decode(const struct field *rows, size_t n, const struct command *cmd, void *hdr,
                  size_t size, struct fault *f);
#define FIELDS_DECODE(rows, cmd, hdr, f) \
    fields_decode(rows, sizeof(rows) / sizeof((rows)[0]), cmd, hdr, sizeof(*(hdr)), f)

#endif
