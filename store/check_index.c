/* check_store: the index files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/buf.h"
#include "store/check_priv.h"
#include "store/index_file.h"

#define GIVE_BACK_ENTRIES (1 << 20)      /* after so many, the memory of a file's mapping is given back */
#define GIVE_BACK_SLOTS (1 << 18)        /* they name entries all over the file */

struct look {
    struct check *c;
    const char *path;
    struct index_file file;              /* map and layout only */
    int64_t begin, end;                  /* log offsets, of the header */
    int32_t next;                        /* number behind the last entry */
    unsigned char *named;                /* a bit an entry: its slot or a later entry names it */
};

static void give_back(const struct look *k)
{
    madvise(k->file.map, (size_t)index_file_size(k->file.layout), MADV_DONTNEED);
}

static int64_t entry_at(const struct look *k, int32_t n) { return index_entry_at(k->file.layout, n); }
static struct index_entry entry_get(const struct look *k, int32_t n) { return index_file_entry(&k->file, n); }

/* Of a file that is too damaged to show its layout, it is that of the others. */
static int layout_of(struct check *c, const char *map, int64_t size, struct index_layout *out)
{
    struct index_layout told = {c->o->index_slots, c->o->index_entries};
    bool counts = told.slots && (!told.entries || size == index_file_size(told));
    int rc = index_layout_find(map, size, counts ? told.slots : 0, out);

    if (rc == 1 && (int32_t)be32_get(map + INDEX_HEADER - 4) > 1) {
        c->index_size = size;
        c->index_layout = *out;
    } else if (rc != 1 && size == c->index_size) {
        *out = c->index_layout;
        rc = 1;
    }
    return rc < 0 ? rc : 0;
}

/* ---- an entry ---- */

static bool hash_is(const struct message *m, const char *kind, struct str key, int32_t hash)
{
    return index_hash(m->topic, kind, key) == hash;
}

static bool has_key(const struct message *m, int32_t hash)
{
    struct str keys = prop_get(m->properties, "KEYS"), tags = prop_get(m->properties, "TAGS");

    if (hash_is(m, INDEX_KEY, prop_get(m->properties, "UNIQ_KEY"), hash))
        return true;
    while (keys.n)
        if (hash_is(m, INDEX_KEY, message_next_key(&keys), hash))
            return true;
    return tags.n && hash_is(m, INDEX_TAG, tags, hash);
}

/* Names entry `target`, which must be an earlier one of that slot, and named once. */
static void check_link(struct look *k, int64_t at, const char *what, int32_t target, int32_t below, int32_t slot)
{
    if (target < 0 || target >= below)
        check_find(k->c, k->path, at, "%s names entry %" PRId32 ", and only %" PRId32 " can be", what, target,
                   below - 1);
    else if (target && entry_get(k, target).hash % k->file.layout.slots != slot)
        check_find(k->c, k->path, at, "%s names entry %" PRId32 ", which is of slot %" PRId32 ", not %" PRId32, what,
                   target, entry_get(k, target).hash % k->file.layout.slots, slot);
    else if (target && k->named[target / 8] & 1 << target % 8)
        check_find(k->c, k->path, at, "%s names entry %" PRId32 ", which another one names already", what, target);
    else if (target)
        k->named[target / 8] |= (unsigned char)(1 << target % 8);
}

static void check_entry(struct look *k, int32_t n)
{
    struct index_entry e = entry_get(k, n);
    int64_t at = entry_at(k, n);
    struct message m;

    k->c->r->entries++;
    if (e.hash < 0 || e.seconds < 0) {
        check_find(k->c, k->path, at, "entry %" PRId32 " is none: hash %" PRId32 ", seconds %" PRId32, n, e.hash,
                   e.seconds);
        return;
    }
    check_link(k, at, "an entry", e.before, n, e.hash % k->file.layout.slots);
    if (e.offset < k->begin || e.offset > k->end)
        check_find(k->c, k->path, at, "entry %" PRId32 " names log offset %" PRId64 ", and the header says %" PRId64
                   " to %" PRId64, n, e.offset, k->begin, k->end);
    else if (e.offset >= k->c->r->log_min && check_record(k->c, e.offset, &m))
        check_find(k->c, k->path, at, "entry %" PRId32 " names log offset %" PRId64 ", where no record is", n,
                   e.offset);
    else if (e.offset >= k->c->r->log_min && !has_key(&m, e.hash))
        check_find(k->c, k->path, at, "entry %" PRId32 " has a hash that is of no key of the record at %" PRId64, n,
                   e.offset);
}

/* ---- a file ---- */

static void check_slots(struct look *k, int32_t slots_used)
{
    int32_t used = 0;

    for (int32_t i = 0; i < k->file.layout.slots; i++) {
        int64_t at = INDEX_HEADER + (int64_t)i * INDEX_SLOT;
        int32_t v = (int32_t)be32_get(k->file.map + at);
        used += v != 0;
        if (v)
            check_link(k, at, "a slot", v, k->next, i);
        if (i % GIVE_BACK_SLOTS == GIVE_BACK_SLOTS - 1)
            give_back(k);
    }
    if (used != slots_used)
        check_find(k->c, k->path, 32, "the header says %" PRId32 " slots are used, and %" PRId32 " are", slots_used,
                   used);
    for (int32_t n = 1; n < k->next; n++)
        if (!(k->named[n / 8] & 1 << n % 8))
            check_find(k->c, k->path, entry_at(k, n), "entry %" PRId32 " is in no slot's chain", n);
}

static int check_map(struct look *k)
{
    struct check *c = k->c;
    int64_t begin_time = (int64_t)be64_get(k->file.map), end_time = (int64_t)be64_get(k->file.map + 8);
    int32_t next = (int32_t)be32_get(k->file.map + 36);

    k->begin = (int64_t)be64_get(k->file.map + 16);
    k->end = (int64_t)be64_get(k->file.map + 24);
    k->next = next > 0 ? next : 1;
    if (next < 0 || next > k->file.layout.entries) {
        check_find(c, k->path, 36, "the header says the next entry is %" PRId32 ", and there are %" PRId32, next,
                   k->file.layout.entries);
        return 0;
    }
    if (k->next > 1 && (k->begin < 0 || k->begin > k->end || k->end >= c->r->log_end))
        check_find(c, k->path, 16, "the header says log offsets %" PRId64 " to %" PRId64 ", and the log ends at %"
                   PRId64, k->begin, k->end, c->r->log_end);
    if (k->next > 1 && (begin_time <= 0 || end_time <= 0))
        check_find(c, k->path, 0, "the header says store times %" PRId64 " to %" PRId64, begin_time, end_time);
    if (!(k->named = calloc((size_t)k->next / 8 + 1, 1)))
        return -ENOMEM;
    for (int32_t n = 1; n < k->next; n++) {
        check_entry(k, n);
        if (n % GIVE_BACK_ENTRIES == 0) {
            give_back(k);
            check_progress(c, "index file", n, k->next);
        }
    }
    check_slots(k, (int32_t)be32_get(k->file.map + 32));
    free(k->named);
    return 0;
}

static int map_and_check(struct check *c, const char *path, int fd, int64_t size)
{
    struct look k = {.c = c, .path = path};
    int rc = 0;
    void *map = size > INDEX_HEADER ? mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0) : NULL;

    if (map == MAP_FAILED)
        return -errno;
    if (!map || layout_of(c, map, size, &k.file.layout)) {
        check_find(c, path, size, "%" PRId64 " bytes are no whole index file%s", size,
                   c->o->index_slots ? " of that many slots" : ", or its number of slots (maxHashSlotNum) cannot be seen");
    } else {
        k.file.map = map;
        rc = check_map(&k);
    }
    if (map)
        munmap(map, (size_t)size);
    return rc;
}

static int check_file(struct check *c, const char *path)
{
    int64_t findings = c->r->findings;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        rc = -errno;
    else
        rc = map_and_check(c, path, fd, st.st_size);
    if (fd >= 0)
        close(fd);
    c->r->index_files++;
    if (c->r->findings > findings)
        check_bad(c, CHECK_INDEX, path);
    return rc;
}

int check_index(struct check *c, struct fault *f)
{
    char path[4096];
    struct dirent **names;
    int n, rc = 0;

    snprintf(path, sizeof path, "%s/index", c->o->root);
    n = scandir(path, &names, NULL, alphasort);
    if (n < 0)
        return errno == ENOENT ? 0 : fault_errno(f, errno, "read %.300s", path);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (!rc && strlen(name) == 17 && strspn(name, "0123456789") == 17) {
            if ((size_t)snprintf(path, sizeof path, "%s/index/%s", c->o->root, name) >= sizeof path)
                rc = -ENAMETOOLONG;
            else
                rc = check_file(c, path);
            if (rc)
                fault_errno(f, -rc, "check %.300s", path);
        }
        free(names[i]);
    }
    free(names);
    return rc;
}
