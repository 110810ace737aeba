#include "common/remoting/command.h"

#include <errno.h>

#include "common/be.h"
#include "common/remoting/header.h"

#define PREFIX_BYTES 8              /* total, and type with header length */
#define HEADER_MAX 0xFFFFFF

int64_t frame_length(const char *p, size_t n, size_t max)
{
    int32_t after;

    if (n < 4)
        return 0;
    after = (int32_t)be32_get(p);
    if (after < 4 || max < 4 || (size_t)after > max - 4)
        return -EBADMSG;
    return (int64_t)after + 4;
}

int command_decode(char *frame, size_t len, struct command *cmd)
{
    size_t header;

    memset(cmd, 0, offsetof(struct command, ext));
    cmd->body = (struct str){0};
    if (len < PREFIX_BYTES || be32_get(frame) != len - 4)
        return -EBADMSG;
    cmd->serialize = (uint8_t)frame[4];
    header = be32_get(frame + 4) & HEADER_MAX;
    if (header > len - PREFIX_BYTES)
        return -EBADMSG;
    if (header < len - PREFIX_BYTES)
        cmd->body = str_n(frame + PREFIX_BYTES + header, len - PREFIX_BYTES - header);
    if (cmd->serialize == SERIALIZE_JSON)
        return header_json_decode(frame + PREFIX_BYTES, header, cmd);
    if (cmd->serialize == SERIALIZE_ROCKETMQ)
        return header_binary_decode(frame + PREFIX_BYTES, header, cmd);
    return -EBADMSG;
}

struct str command_ext(const struct command *cmd, const char *name)
{
    struct str want = str_of(name);

    for (unsigned i = cmd->n_ext; i-- > 0;) {
        if (str_eq(cmd->ext[i].k, want))
            return cmd->ext[i].v;
    }
    return (struct str){0};
}

/* Whether a header of these texts is within its 24 bits even before escaping. */
static bool texts_fit(const struct command *cmd)
{
    size_t left = HEADER_MAX;

    if (cmd->remark.n > left)
        return false;
    left -= cmd->remark.n;
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (cmd->ext[i].k.n > left || cmd->ext[i].v.n > left - cmd->ext[i].k.n)
            return false;
        left -= cmd->ext[i].k.n + cmd->ext[i].v.n;
    }
    return true;
}

bool command_encode(struct buf *out, const struct command *cmd, size_t extra_body)
{
    size_t at = out->n, header, body_max;
    bool binary = cmd->serialize == SERIALIZE_ROCKETMQ && header_binary_fits(cmd);

    if (!texts_fit(cmd) || !buf_room(out, PREFIX_BYTES))
        return false;
    out->n += PREFIX_BYTES;
    if (binary)
        header_binary_encode(out, cmd);
    else
        header_json_encode(out, cmd);
    header = out->n - at - PREFIX_BYTES;
    body_max = INT32_MAX - 4 - (header <= HEADER_MAX ? header : HEADER_MAX);
    if (header > HEADER_MAX || cmd->body.n > body_max || extra_body > body_max - cmd->body.n) {
        out->n = at;
        return false;
    }
    buf_put_str(out, cmd->body);
    if (buf_failed(out)) {
        out->n = at;
        return false;
    }
    be32_put(out->p + at, (uint32_t)(4 + header + cmd->body.n + extra_body));
    be32_put(out->p + at + 4,
             (uint32_t)header | (uint32_t)(binary ? SERIALIZE_ROCKETMQ : SERIALIZE_JSON) << 24);
    return true;
}
