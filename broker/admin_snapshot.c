/* Requests of our own mqadmin about snapshots. A snapshot is read as files on the
 * broker's host, so only callers on that host have a use for it, and only they
 * are served: who may connect from elsewhere cannot fill or empty the disk. */
#include "broker/admin.h"

#include <errno.h>

#include "common/json.h"

static bool is_loopback(const struct sockaddr_storage *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)a)->sin6_addr;

    if (a->ss_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    return a->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

static bool from_here(struct request *r)
{
    if (is_loopback(conn_peer_addr(request_conn(r))))
        return true;
    reply(r, RC_NO_PERMISSION, "snapshots are made and listed on the broker's host only: call it as 127.0.0.1 there");
    return false;
}

static void put_info(struct json_writer *w, struct broker *b, const struct snapshot_info *info)
{
    char path[4096];

    if (broker_snapshot_path(b, str_of(info->name), path, sizeof(path)))
        path[0] = 0;
    jw_object(w);
    jw_kint(w, "logEnd", info->log_end);
    jw_ktext(w, "name", info->name);
    jw_ktext(w, "path", path);
    jw_kint(w, "time", info->time);
    jw_object_end(w);
}

void op_create_snapshot(struct request *r)
{
    struct broker *b = broker_of(r);
    struct str name = command_ext(request_cmd(r), "name");
    struct snapshot_info info;
    struct json_writer w;
    struct buf body = {0};
    struct caller who;
    struct fault f;

    if (!from_here(r))
        return;
    admin_caller(r, &who);
    if (broker_snapshot_create(b, &who, name, &f)) {
        reply_fault(r, &f);
        return;
    }
    if (broker_snapshot_get(b, name, &info)) {
        reply(r, RC_SYSTEM_ERROR, "snapshot %.*s was removed at once", STR_ARG(name));
        return;
    }
    jw_init(&w, &body, false);
    put_info(&w, b, &info);
    admin_reply_json(r, &body);
}

void op_delete_snapshot(struct request *r)
{
    struct caller who;
    struct fault f;

    if (!from_here(r))
        return;
    admin_caller(r, &who);
    if (broker_snapshot_delete(broker_of(r), &who, command_ext(request_cmd(r), "name"), &f))
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

void op_list_snapshots(struct request *r)
{
    struct broker *b = broker_of(r);
    struct snapshot_info info;
    struct json_writer w;
    struct buf body = {0};

    if (!from_here(r))
        return;
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "snapshots");
    for (uint32_t i = 0; broker_snapshot_at(b, i, &info) == 0; i++)
        put_info(&w, b, &info);
    jw_array_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}
