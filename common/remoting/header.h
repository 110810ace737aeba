/* The two header serializations, private to common/remoting: command.c frames
 * what these make. Decoders get exactly the header's bytes and fill everything
 * but serialize and body; code, opaque, flag, n_ext and remark are zero before.
 * 0 or -EBADMSG. Encoders append the header; a failure is in out. */
#ifndef COMMON_REMOTING_HEADER_H
#define COMMON_REMOTING_HEADER_H

#include "common/remoting/command.h"

int header_json_decode(char *p, size_t n, struct command *cmd);
void header_json_encode(struct buf *out, const struct command *cmd);

int header_binary_decode(const char *p, size_t n, struct command *cmd);
void header_binary_encode(struct buf *out, const struct command *cmd);
bool header_binary_fits(const struct command *cmd);   /* everything in it can be said in binary */

#endif
