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

static char *put_bytes(char *w, struct str s)
{
    if (s.n)
        memcpy(w, s.p, s.n);
    return w + s.n;
}

static char *put_long_text(char *w, struct str s)
{
    be32_put(w, (uint32_t)s.n);
    return put_bytes(w + 4, s);
}

/* Lengths fit: command_encode has bounded the sum of all texts. */
void header_binary_encode(struct buf *out, const struct command *cmd)
{
    size_t ext = 0;
    char *w;

    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (cmd->ext[i].v.p)
            ext += 6 + cmd->ext[i].k.n + cmd->ext[i].v.n;
    }
    w = buf_room(out, FIXED_BYTES + cmd->remark.n + ext);
    if (!w)
        return;
    out->n += FIXED_BYTES + cmd->remark.n + ext;
    be16_put(w, (uint16_t)cmd->code);
    w[2] = (char)cmd->language;
    be16_put(w + 3, (uint16_t)cmd->version);
    be32_put(w + 5, (uint32_t)cmd->opaque);
    be32_put(w + 9, (uint32_t)cmd->flag);
    w = put_long_text(w + 13, cmd->remark);
    be32_put(w, (uint32_t)ext);
    w += 4;
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (!cmd->ext[i].v.p)
            continue;
        be16_put(w, (uint16_t)cmd->ext[i].k.n);
        w = put_bytes(w + 2, cmd->ext[i].k);
        w = put_long_text(w, cmd->ext[i].v);
    }
}
