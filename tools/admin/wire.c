#include "tools/admin/wire.h"

#include <errno.h>

#define CALL_MS 15000

int wire_open(struct wire *w, const char *addr, struct fault *f)
{
    memset(w, 0, sizeof *w);
    w->addr = addr;
    return client_open(&w->client, f);
}

void wire_close(struct wire *w)
{
    if (w->client)
        client_close(w->client);
    buf_free(&w->frame);
}

int wire_call(struct wire *w, struct command *cmd, int also, struct fault *f)
{
    int rc;

    buf_free(&w->frame);
    if ((rc = client_call(w->client, w->addr, cmd, CALL_MS, &w->reply, &w->frame, f)))
        return rc;
    if (w->reply.code == RC_SUCCESS || w->reply.code == also)
        return 0;
    return fault_set(f, w->reply.code, EREMOTEIO, "%s refused request %d: %.*s (%s)", w->addr, cmd->code,
                     (int)(w->reply.remark.n < 250 ? w->reply.remark.n : 250), w->reply.remark.n ? w->reply.remark.p : "",
                     response_code_name(w->reply.code));
}

int wire_number(const struct wire *w, const char *name, int64_t *out, struct fault *f)
{
    struct str v = command_ext(&w->reply, name);

    if (v.p && str_i64(v, out) == 0)
        return 0;
    return fault_set(f, RC_SYSTEM_ERROR, EBADMSG, "%s answered without %s", w->addr, name);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        unsigned v = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        buf_putc(out, digits[v >> 18]);
        buf_putc(out, digits[v >> 12 & 63]);
        buf_putc(out, left > 1 ? digits[v >> 6 & 63] : '=');
        buf_putc(out, left > 2 ? digits[v & 63] : '=');
    }
}

int base64_get(struct buf *out, struct str text)
{
    unsigned v = 0;
    int bits = 0;

    if (text.n % 4)
        return -EINVAL;
    while (text.n && text.p[text.n - 1] == '=')
        text.n--;
    for (size_t i = 0; i < text.n; i++) {
        const char *at = text.p[i] ? strchr(digits, text.p[i]) : NULL;
        if (!at)
            return -EINVAL;
        v = (v << 6 | (unsigned)(at - digits)) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_putc(out, (char)(v >> bits & 0xFF));
        }
    }
    return buf_failed(out) ? -ENOMEM : 0;
}

struct str next_name(struct str *list)
{
    const char *comma = list->n ? memchr(list->p, ',', list->n) : NULL;
    size_t n = comma ? (size_t)(comma - list->p) : list->n;
    struct str name = str_n(list->p, n);

    list->p += n + (comma != NULL);
    list->n -= n + (comma != NULL);
    return str_trim(name);
}
