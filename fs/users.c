#include "fs/users.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/clock.h"

#define SLOTS 256
#define REMEMBER_MS 60000
#define NSS_ROOM 65536

enum what { NAME_OF_UID, UID_OF_NAME, GID_OF_NAME };

struct slot {
    bool used;
    enum what what;
    char name[USER_NAME_MAX];
    uint32_t id;
    bool nobody;                 /* there is no such name */
    int64_t until;               /* mono_ms */
};

struct users {
    pthread_mutex_t lock;        /* guards slots; held for copies only, never while the system is asked */
    struct slot slots[SLOTS];
};

int users_open(struct users **out)
{
    struct users *u = calloc(1, sizeof *u);

    if (!u)
        return -ENOMEM;
    pthread_mutex_init(&u->lock, NULL);
    *out = u;
    return 0;
}

void users_close(struct users *u)
{
    if (!u)
        return;
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static struct slot *slot_of(struct users *u, enum what what, const char *name, uint32_t id)
{
    uint32_t h = what * 31u;

    if (what == NAME_OF_UID)
        h += id * 2654435761u >> 8;
    else
        for (const char *p = name; *p; p++)
            h = h * 33 + (unsigned char)*p;
    return &u->slots[h % SLOTS];
}

static bool recall(struct users *u, struct slot *want)
{
    struct slot *s = slot_of(u, want->what, want->name, want->id);
    bool hit;

    pthread_mutex_lock(&u->lock);
    hit = s->used && s->what == want->what && s->until > mono_ms() &&
          (want->what == NAME_OF_UID ? s->id == want->id : strcmp(s->name, want->name) == 0);
    if (hit)
        *want = *s;
    pthread_mutex_unlock(&u->lock);
    return hit;
}

static void remember(struct users *u, struct slot *known)
{
    struct slot *s = slot_of(u, known->what, known->name, known->id);

    known->used = true;
    known->until = mono_ms() + REMEMBER_MS;
    pthread_mutex_lock(&u->lock);
    *s = *known;
    pthread_mutex_unlock(&u->lock);
}

/* Decimal text, as stands for a user that has no name. */
static bool number(const char *name, uint32_t *out)
{
    int64_t v;

    if (name[0] < '0' || name[0] > '9' || str_i64(str_of(name), &v) || v < 0 || v >= UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

static void ask_system(struct slot *s, char *room)
{
    struct passwd pw, *found = NULL;
    struct group gr, *group = NULL;

    if (s->what == NAME_OF_UID) {
        getpwuid_r(s->id, &pw, room, NSS_ROOM, &found);
        if (!found || !found->pw_name[0] || !str_copy(s->name, sizeof s->name, str_of(found->pw_name)))
            snprintf(s->name, sizeof s->name, "%u", (unsigned)s->id);
    } else if (s->what == UID_OF_NAME) {
        getpwnam_r(s->name, &pw, room, NSS_ROOM, &found);
        if (found)
            s->id = found->pw_uid;
        else
            s->nobody = !number(s->name, &s->id);
    } else {
        getgrnam_r(s->name, &gr, room, NSS_ROOM, &group);
        if (group)
            s->id = group->gr_gid;
        else
            s->nobody = !number(s->name, &s->id);
    }
}

/* False without memory; then nothing is remembered. */
static bool answer(struct users *u, struct slot *s)
{
    char *room;

    if (recall(u, s))
        return true;
    room = malloc(NSS_ROOM);
    if (!room)
        return false;
    ask_system(s, room);
    free(room);
    remember(u, s);
    return true;
}

void users_name(struct users *u, uid_t uid, char out[USER_NAME_MAX])
{
    struct slot s = {.what = NAME_OF_UID, .id = uid};

    if (!answer(u, &s))
        snprintf(s.name, sizeof s.name, "%u", (unsigned)uid);
    memcpy(out, s.name, sizeof s.name);
}

static uint32_t id_of(struct users *u, enum what what, const char *name, uint32_t none)
{
    struct slot s = {.what = what};

    if (!name || !name[0] || !str_copy(s.name, sizeof s.name, str_of(name)) || !answer(u, &s))
        return none;
    return s.nobody ? none : s.id;
}

uid_t users_uid(struct users *u, const char *name, uid_t none) { return id_of(u, UID_OF_NAME, name, none); }
gid_t users_gid(struct users *u, const char *name, gid_t none) { return id_of(u, GID_OF_NAME, name, none); }
