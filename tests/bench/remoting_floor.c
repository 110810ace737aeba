/* Our remoting server with a handler that answers constants: what the network
 * layer alone costs a message, between echo_floor and the whole broker.
 *
 *     remoting_floor [PORT [LOOPS]]        prints the port in use and its pid */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/remoting/server.h"

struct send_header {
    struct str producer_group, topic, default_topic, properties;
    int32_t default_queues, queue_id, sys_flag, flag, reconsume_times;
    int64_t born;
    bool unit_mode, batch;
};

static const struct field rows[] = {
    {"a", FIELD_STR, offsetof(struct send_header, producer_group), true, NULL},
    {"b", FIELD_STR, offsetof(struct send_header, topic), true, NULL},
    {"c", FIELD_STR, offsetof(struct send_header, default_topic), true, NULL},
    {"d", FIELD_I32, offsetof(struct send_header, default_queues), true, NULL},
    {"e", FIELD_I32, offsetof(struct send_header, queue_id), true, NULL},
    {"f", FIELD_I32, offsetof(struct send_header, sys_flag), true, NULL},
    {"g", FIELD_I64, offsetof(struct send_header, born), true, NULL},
    {"h", FIELD_I32, offsetof(struct send_header, flag), true, NULL},
    {"i", FIELD_STR, offsetof(struct send_header, properties), false, NULL},
    {"j", FIELD_I32, offsetof(struct send_header, reconsume_times), false, NULL},
    {"k", FIELD_BOOL, offsetof(struct send_header, unit_mode), false, NULL},
    {"m", FIELD_BOOL, offsetof(struct send_header, batch), false, NULL},
};

static void do_send(struct request *r)
{
    struct send_header h;
    struct command out;
    struct fault f;
    char queue[21], offset[21];

    if (FIELDS_DECODE(rows, request_cmd(r), &h, &f)) {
        reply_fault(r, &f);
        return;
    }
    reply_start(r, &out, RC_SUCCESS);
    command_add(&out, "msgId", str_of("7F00000100002A9F0000000000000000"));
    command_add_i64(&out, "queueId", h.queue_id, queue);
    command_add_i64(&out, "queueOffset", h.born, offset);
    command_add(&out, "MSG_REGION", str_of("DefaultRegion"));
    command_add(&out, "TRACE_ON", str_of("true"));
    reply_send(r, &out);
}

static const struct op ops[] = {{310, "SEND_MESSAGE_V2", do_send, 0, ""}};

int main(int argc, char **argv)
{
    struct server_conf conf = {.bind = "127.0.0.1", .ports = {argc > 1 ? atoi(argv[1]) : 0, -1},
                               .loops = argc > 2 ? atoi(argv[2]) : 0, .name = "remoting_floor"};
    struct server_ops o = {.ops = ops, .n_ops = 1};
    struct server *s;
    struct fault f;

    if (server_open(&conf, &o, &s, &f) || server_run(s)) {
        fprintf(stderr, "%s\n", f.text);
        return 1;
    }
    printf("port=%d pid=%d\n", server_port(s, 0), (int)getpid());
    fflush(stdout);
    for (;;)
        pause();
}
