/* Apache's binary header (RocketMQSerializable, 5.5.0), big-endian:
 * code:2 language:1 version:2 opaque:4 flag:4 remarkLen:4 remark extLen:4
 * then { keyLen:2 key valueLen:4 value } up to extLen. */
#include "common/remoting/header.h"

#include <errno.h>

#include "common/be.h"

#define FIXED_BYTES 21

static int get_text(struct cursor *c, size_t n, struct str *out)
{
    const unsigned char *p;

    if (cursor_bytes(c, n, &p))
        return -EBADMSG;
    *out = n ? str_n((const char *)p, n) : (struct str){0};    /* an empty text is Apache's null */
    return 0;
}

static int get_long_text(struct cursor *c, struct str *out)
{
    uint32_t n;

    return cursor_u32(c, &n) ? -EBADMSG : get_text(c, n, out);
}

static int get_ext(struct cursor *c, struct command *cmd)
{
    uint16_t n;
    struct ext e;

    while (cursor_left(c)) {
        if (cursor_u16(c, &n) || n > INT16_MAX || get_text(c, n, &e.k) || get_long_text(c, &e.v))
            return -EBADMSG;
        if (!e.k.n || !e.v.n)
            continue;
        if (cmd->n_ext == COMMAND_EXT_MAX)
            return -EBADMSG;
        cmd->ext[cmd->n_ext++] = e;
    }
    return 0;
}

int header_binary_decode(const char *p, size_t n, struct command *cmd)
{
    struct cursor c = {(const unsigned char *)p, (const unsigned char *)p + n};
    struct str ext;

    if (n < FIXED_BYTES)
        return -EBADMSG;
    cmd->code = (int16_t)be16_get(p);
    cmd->language = (unsigned char)p[2] <= LANG_NODE_JS ? (uint8_t)p[2] : LANG_OTHER;
    cmd->version = (int16_t)be16_get(p + 3);
    cmd->opaque = (int32_t)be32_get(p + 5);
    cmd->flag = (int32_t)be32_get(p + 9);
    c.p += 13;
    if (get_long_text(&c, &cmd->remark) || get_long_text(&c, &ext) || cursor_left(&c))
        return -EBADMSG;
    if (!ext.n)
        return 0;
    c = (struct cursor){(const unsigned char *)ext.p, (const unsigned char *)ext.p + ext.n};
    return get_ext(&c, cmd);
}

bool header_binary_fits(const struct command *cmd)
{
    if (cmd->code < INT16_MIN || cmd->code > INT16_MAX)
        return false;
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (cmd->ext[i].k.n > INT16_MAX)
            return false;
    }
    return true;
}

/* Lengths fit: command_encode has bounded the sum of all texts. */
void header_binary_encode(struct buf *out, const struct command *cmd)
{
    size_t ext = 0;

    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (cmd->ext[i].v.p)
            ext += 6 + cmd->ext[i].k.n + cmd->ext[i].v.n;
    }
    buf_be16(out, (uint16_t)cmd->code);
    buf_putc(out, (char)cmd->language);
    buf_be16(out, (uint16_t)cmd->version);
    buf_be32(out, (uint32_t)cmd->opaque);
    buf_be32(out, (uint32_t)cmd->flag);
    buf_be32(out, (uint32_t)cmd->remark.n);
    buf_put_str(out, cmd->remark);
    buf_be32(out, (uint32_t)ext);
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        const struct ext *e = &cmd->ext[i];
        if (!e->v.p)
            continue;
        buf_be16(out, (uint16_t)e->k.n);
        buf_put_str(out, e->k);
        buf_be32(out, (uint32_t)e->v.n);
        buf_put_str(out, e->v);
    }
}
