/* Which layout has an index file? Its header says neither how many slots nor how many entries there are, only how
 * many of them are used. With the wrong number of slots each entry is read from the wrong place, so that its hash
 * leads to a slot that does not lead back. */
#include <errno.h>

#include "common/be.h"
#include "store/index_file.h"

#define SAMPLES 64
#define USUAL_RATIO 4                    /* maxIndexNum to maxHashSlotNum, in both defaults */
#define SLOTS_AN_ENTRY (INDEX_ENTRY / INDEX_SLOT)

static bool layout_with(int64_t size, int64_t slots, struct index_layout *out)
{
    int64_t rest = size - INDEX_HEADER - slots * INDEX_SLOT, entries = rest / INDEX_ENTRY;

    if (slots <= 0 || slots > INT32_MAX || rest <= 0 || rest % INDEX_ENTRY || entries < 2 || entries > INT32_MAX)
        return false;
    *out = (struct index_layout){(int32_t)slots, (int32_t)entries};
    return true;
}

/* Does the slot of that entry lead to the entry, or to a later one of the same slot? */
static bool entry_fits(const struct index_file *x, int32_t next, int32_t n)
{
    struct index_entry e = index_file_entry(x, n);
    int32_t slot, newest;

    if (e.hash < 0 || e.seconds < 0 || e.before < 0 || e.before >= n)
        return false;
    slot = e.hash % x->layout.slots;
    newest = (int32_t)be32_get(x->map + INDEX_HEADER + (size_t)slot * INDEX_SLOT);
    return newest >= n && newest < next && index_file_entry(x, newest).hash >= 0 &&
           index_file_entry(x, newest).hash % x->layout.slots == slot;
}

static bool is_empty(struct index_entry e) { return !e.hash && !e.offset && !e.seconds && !e.before; }

/* How many of the sampled entries fit; *of: how many were looked at. When the header says that more are used than
 * there are, they are those up to the first that is empty. */
static int score(const struct index_file *x, int *of)
{
    struct index_file_info info;
    bool counted;
    int32_t next, step = 1;
    int good = 0;

    index_file_info(x, &info);
    counted = info.next <= x->layout.entries;
    next = counted ? info.next : x->layout.entries;
    if (counted && next > SAMPLES)
        step = next / SAMPLES;
    *of = 0;
    for (int32_t n = 1; n < next && *of < SAMPLES; n += step, ++*of) {
        if (!counted && is_empty(index_file_entry(x, n)))
            break;
        good += entry_fits(x, next, n);
    }
    return good;
}

/* Cheaper than a score: the first or the last entry is where the header says they lead. */
static bool may_be(const struct index_file *x, const struct index_file_info *info)
{
    return info->next > 1 && (index_file_entry(x, 1).offset == info->begin_offset ||
                              (info->next <= x->layout.entries &&
                               index_file_entry(x, info->next - 1).offset == info->end_offset));
}

/* Layouts of one size differ by five slots for each entry. */
static bool search(struct index_file *x, int64_t size)
{
    struct index_layout best = {0}, at;
    struct index_file_info info;
    int most = 0, of;

    index_file_info(x, &info);
    for (int64_t slots = (size - INDEX_HEADER) / INDEX_SLOT % SLOTS_AN_ENTRY; slots < size / INDEX_SLOT;
         slots += SLOTS_AN_ENTRY) {
        int good;
        if (!layout_with(size, slots, &at))
            continue;
        x->layout = at;
        if (!may_be(x, &info) || (good = score(x, &of)) <= most || good * 2 < of)
            continue;
        most = good;
        best = at;
    }
    x->layout = best;
    return most > 0;
}

int index_layout_find(const char *map, int64_t size, int32_t slots, struct index_layout *out)
{
    struct index_file x = {.map = (char *)(uintptr_t)map, .fd = -1};
    int64_t unit = INDEX_SLOT + USUAL_RATIO * INDEX_ENTRY, rest = size - INDEX_HEADER, odd = rest / INDEX_SLOT % SLOTS_AN_ENTRY;
    bool usual;
    int of;

    if (slots)
        return layout_with(size, slots, out) ? 1 : -EINVAL;
    if (rest <= 0 || rest % INDEX_SLOT)
        return -EINVAL;
    usual = rest % unit == 0 && layout_with(size, rest / unit, &x.layout);
    if ((usual && score(&x, &of) * 2 >= of) ||
        ((int32_t)be32_get(map + INDEX_HEADER - 4) <= 1 && layout_with(size, odd ? odd : SLOTS_AN_ENTRY, &x.layout)) ||
        search(&x, size)) {
        *out = x.layout;
        return 1;
    }
    return usual && layout_with(size, rest / unit, out) ? 0 : -EINVAL;
}
