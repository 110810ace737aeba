/* A directory of equally long files named by offset: the commit log's, and each
 * consume queue's. Which directory it is, the callers say: 800,000 queues would
 * not want to keep the text. Files are mapped when first asked for. */
#ifndef STORE_FILE_LIST_H
#define STORE_FILE_LIST_H

#include <pthread.h>
#include <stdbool.h>
#include "store/mapped_file.h"

struct file_list {
    pthread_mutex_t lock;            /* guards files, n, cap and the files' map; a leaf: nothing else is taken under it */
    struct mapped_file **files;      /* by base, ascending; one reference each */
    int n, cap;
    int64_t file_size;
    const struct file_home *home;    /* of files that are loaded */
    bool was_cut;                    /* the load found a file that was too short */
};

void file_list_init(struct file_list *l, int64_t file_size, const struct file_home *home);
void file_list_free(struct file_list *l);

/* Reads the directory (missing: no files); several may be read one after the other, with a home each. Names that are not 20 digits are ignored; a file that is
 * shorter than it must be is extended with zeros (what it holds stays) and logged; a longer one refuses the
 * start. 0, or -errno with f filled. */
int file_list_load(struct file_list *l, const char *dir, struct fault *f);

/* The mapped file that holds `offset`, with a reference, in *out (NULL when it fails). 0; -ENOENT: no such file; another
 * -errno: it cannot be mapped (logged; -EIO: it does not have the length it should). Any thread. */
int file_list_find(struct file_list *l, const char *dir, int64_t offset, struct mapped_file **out);
/* The same, but only when it is mapped already: else NULL, and nothing is waited for. */
struct mapped_file *file_list_peek(struct file_list *l, int64_t offset);
/* Takes over one reference. 0 or -ENOMEM. The base must be past all others. */
int file_list_add(struct file_list *l, struct mapped_file *m);
/* Disk space for what is written next: the file behind a list's end is made, or gets more of it. */
struct file_growth {
    int64_t from, to;                /* bytes that get disk space; from is the caller's, 0 <= from */
    struct mapped_file *file;        /* mapped, a reference; NULL: it failed before there was one */
    bool made;                       /* the file is new: its directory is not synced */
};
/* Gives disk space from g->from on, within one file, which is made when it is not there (then its base must be past all
 * others). The steps grow with the file: three entries cost a page. 0, or -errno with f filled. Waits for the disk. */
int file_list_grow(struct file_list *l, const char *dir, struct file_growth *g, struct fault *f);
/* Forgets and deletes the files whose base is at or past `offset`. 0 or the first -errno. */
int file_list_cut(struct file_list *l, const char *dir, int64_t offset);
/* Forgets and deletes the first file when it ends at or before `end` and is not the only one: 1, and *gone is the
 * list's reference to it; who else holds one can go on reading. Else 0 or -errno, and nothing is forgotten. */
int file_list_shift(struct file_list *l, const char *dir, int64_t end, struct mapped_file **gone);
/* Takes away the mappings that nobody but the list uses. How many are left. */
int file_list_unmap(struct file_list *l);

int file_list_count(struct file_list *l);
/* Base of file number i, -1 when there is none. */
int64_t file_list_base(struct file_list *l, int i);
/* Base of the file that holds `offset`, or else of the first one behind it; -1 when there is none. */
int64_t file_list_next(struct file_list *l, int64_t offset);
/* Offset of the first byte and past the last byte of all files; both 0 when there are none. */
void file_list_range(struct file_list *l, int64_t *first, int64_t *end);

#endif
