/* What a read gives, with what it holds. For the files of this room only. */
#ifndef STORE_RESULT_H
#define STORE_RESULT_H

#include <sys/uio.h>

#include "store/mapped_file.h"
#include "store/store.h"

#define FEW_IOV 32
#define FEW_FILES 2

struct result {
    struct store_result pub;         /* first: store_release gets its address */
    struct mapped_file **files;
    int n_files, cap_files, cap_iov;
    char *own;                       /* copies of its extents */
    struct mapped_file *few_files[FEW_FILES];
    struct iovec few_iov[FEW_IOV];
};

/* Empty, for store_release. NULL without memory. */
struct result *result_new(void);
/* Adds n bytes at p, which are the file's, and a reference to that. 0 or -ENOMEM. */
int result_extend(struct result *r, struct mapped_file *file, char *p, size_t n);
/* Adds a record of the mapped file to *r, which is made when NULL; file NULL: makes it only. 0 or -ENOMEM. */
int result_add(struct store_result **r, struct mapped_file *file, char *p, uint32_t size);
/* What a queue's entry names must be a whole record (its CRC is the client's to check) that queues may name. In a mapped
 * file: under a bus_guard. */
bool record_looks_right(const char *p, int64_t at, uint32_t size);
/* Behind a guard's -EIO: logs it, and gives it. */
int result_eio(const char *doing);

#endif
