/* Copying what a file holds from one descriptor to another: cloned where the file
 * system can (FICLONE), else without the parts that were never written. */
#ifndef STORE_FILE_COPY_H
#define STORE_FILE_COPY_H

#include <stdint.h>

/* The first n bytes of `in` into the empty file `out`, which gets the length `size` (at least n; zeros behind n).
 * *copied grows by the bytes that were copied, by none when they were cloned; their writing to the disk is begun. A
 * source that gets shorter meanwhile is copied as far as it goes. 0 or -errno. */
int file_copy(int in, int out, int64_t n, int64_t size, int64_t *copied);

#endif
