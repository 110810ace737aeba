/* File names for texts that came from outside: keys, client ids. One name for each text, one text for each name.
 *
 * What a name cannot have or should not ('/', control characters, a name that is "." or ".." as a whole) is written
 * %XX, two of 0-9A-F, and so is a '%' that would be taken for one of ours; all else stands as it is, so that most
 * texts are their own names. A name has at most 255 bytes: a longer one is cut and ends with "%~" and 16 hex digits, the
 * mark that the caller gives texts to tell those apart that begin alike. */
#ifndef FS_ESCAPE_H
#define FS_ESCAPE_H

#include "fs/tree.h"

/* The name of a text that is not empty. Takes no memory. */
void name_escape(struct str text, uint64_t mark, char out[TREE_NAME_MAX + 1]);
/* Appends the text that has this name. -ENOENT: none has, or the name was cut. */
int name_unescape(struct str name, struct buf *out);
/* Was it cut? Then *mark is its mark. */
bool name_is_cut(struct str name, uint64_t *mark);
/* Has the text this name? For cut names mark must be the text's. */
bool name_is_of(struct str name, struct str text, uint64_t mark);

#endif
