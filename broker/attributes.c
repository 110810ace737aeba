#include "broker/attributes.h"

#include <errno.h>
#include <stdlib.h>

#include "common/codes.h"

struct rule {
    const char *key;
    bool changeable;
    const char *words;           /* values it takes: "A|B"; NULL: an owner's name */
    const char *missing;         /* values of words that need what is not here: "C"; "*": all of them */
    const char *feature;         /* what that is */
};

static const struct rule topic_rules[] = {
    {"cleanup.policy", false, "DELETE|COMPACTION", "COMPACTION", "compacted topics"},
    {"lite.topic.expiration", true, "", "*", "lite topics"},
    {"message.type", true, "UNSPECIFIED|NORMAL|FIFO|DELAY|TRANSACTION|PRIORITY|LITE|MIXED", "PRIORITY|LITE",
     "priority and lite topics"},
    {OWNER_ATTRIBUTE, true, NULL, NULL, NULL},
    {"queue.type", false, "SimpleCQ|BatchCQ", "BatchCQ", "batch consume queues"},
    {"reserve.time", true, "", "*", "tiered storage"},
};
static const struct rule group_rules[] = {
    {"lite.bind.topic", true, "", "*", "lite topics"},
    {"lite.sub.client.max.event.cnt", true, "", "*", "lite topics"},
    {"lite.sub.client.quota", true, "", "*", "lite topics"},
    {"lite.sub.model", true, "", "*", "lite topics"},
    {"lite.sub.reset.offset.exclusive", true, "", "*", "lite topics"},
    {"lite.sub.reset.offset.unsubscribe", true, "", "*", "lite topics"},
    {"lite.sub.wildcard", true, "", "*", "lite topics"},
    {OWNER_ATTRIBUTE, true, NULL, NULL, NULL},
    {"priority.factor", true, "", "*", "POP consumption"},
};

static const struct {
    const struct rule *rules;
    size_t n;
    const char *word;
} rules_of[] = {
    [ATTRIBUTES_OF_TOPIC] = {topic_rules, sizeof(topic_rules) / sizeof(topic_rules[0]), "topic"},
    [ATTRIBUTES_OF_GROUP] = {group_rules, sizeof(group_rules) / sizeof(group_rules[0]), "group"},
};

/* "BEFORE"what"AFTER": what is cut to a sane length. */
static int refuse(struct fault *f, const char *before, struct str what, const char *after)
{
    return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "%s%.*s%s", before, what.n > 100 ? 100 : (int)what.n,
                     what.n ? what.p : "", after);
}

static bool in_words(const char *words, struct str value)
{
    while (*words) {
        size_t n = strcspn(words, "|");
        if (value.n == n && memcmp(words, value.p, n) == 0)
            return true;
        words += n + (words[n] == '|');
    }
    return false;
}

static int owner_check(struct str owner, struct fault *f)
{
    if (owner.n >= OWNER_MAX)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "an owner's name has at most %d bytes, not %zu",
                         OWNER_MAX - 1, owner.n);
    for (size_t i = 0; i < owner.n; i++)
        if ((unsigned char)owner.p[i] <= ' ' || owner.p[i] == 127 || strchr(",=:/", owner.p[i]))
            return refuse(f, "\"", owner,
                          "\" is no user's name: it has a blank, a control character or one of , = : /");
    return 0;
}

static int value_check(const struct rule *r, struct str value, const struct broker_config *conf,
                       struct fault *f)
{
    if (!r->words)
        return owner_check(value, f);
    if (r->missing && strcmp(r->missing, "*") == 0)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "attribute %s: this broker has no %s yet", r->key,
                         r->feature);
    if (!in_words(r->words, value))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "attribute %s takes one of %s, not \"%.*s\"",
                         r->key, r->words, value.n > 60 ? 60 : (int)value.n, value.p);
    if (r->missing && in_words(r->missing, value))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "attribute %s=%.*s: this broker has no %s yet",
                         r->key, STR_ARG(value), r->feature);
    if (str_is(value, "MIXED") && !conf->enable_mixed_message_type)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "attribute %s=MIXED is allowed only with enableMixedMessageType=true", r->key);
    return 0;
}

static const struct rule *find_rule(enum attribute_of of, struct str key)
{
    for (size_t i = 0; i < rules_of[of].n; i++)
        if (str_is(key, rules_of[of].rules[i].key))
            return &rules_of[of].rules[i];
    return NULL;
}

static int set_value(struct attribute **list, const struct rule *r, struct str value, struct fault *f)
{
    char *z = value.n ? str_dup(value) : NULL;       /* an empty owner is nobody: no attribute */
    int rc = value.n && !z ? -ENOMEM : attribute_set(list, str_of(r->key), z);

    free(z);
    return rc ? fault_errno(f, -rc, "setting attribute %s", r->key) : 0;
}

/* One "+key=value" or "-key"; *rule is its key's. */
static int change_one(struct attribute **list, enum attribute_of of, bool create, struct str item,
                      const struct broker_config *conf, const struct rule **rule, struct fault *f)
{
    char sign = item.n ? item.p[0] : 0;
    const char *eq = item.n ? memchr(item.p, '=', item.n) : NULL, *had;
    struct str key, value;
    const struct rule *r;
    int rc;

    if ((sign != '+' && sign != '-') || (sign == '+') != (eq != NULL))
        return refuse(f, "attribute \"", item, "\": write +key=value to set and -key to take away");
    key = str_n(item.p + 1, eq ? (size_t)(eq - item.p) - 1 : item.n - 1);
    value = eq ? str_n(eq + 1, item.n - key.n - 2) : (struct str){"", 0};
    *rule = r = find_rule(of, key);
    if (!r)
        return refuse(f, "there is no attribute \"", key,
                      of == ATTRIBUTES_OF_TOPIC ? "\" of topics" : "\" of groups");
    had = attribute_get(*list, r->key);
    if (sign == '-') {
        if (create || !had)
            return refuse(f, "attribute ", key,
                          create ? ": when something is made, attributes can only be set" :
                                                         " is not set, so it cannot be taken away");
        return r->changeable ? set_value(list, r, (struct str){"", 0}, f) :
                               refuse(f, "attribute ", key, " cannot change any more");
    }
    if ((rc = value_check(r, value, conf, f)))
        return rc;
    if (!create && !r->changeable && !(had && str_is(value, had)))
        return refuse(f, "attribute ", key, " cannot change any more");
    return set_value(list, r, value, f);
}

int attributes_change(struct attribute **list, enum attribute_of of, bool create, struct str text,
                      const struct broker_config *conf, struct fault *f)
{
    uint32_t seen = 0;      /* bits by rule */

    for (text = str_trim(text); text.n;) {
        const char *comma = memchr(text.p, ',', text.n);
        struct str item = str_n(text.p, comma ? (size_t)(comma - text.p) : text.n);
        const struct rule *r = NULL;
        int rc = change_one(list, of, create, str_trim(item), conf, &r, f);

        if (rc)
            return rc;
        if (seen & 1u << (r - rules_of[of].rules))
            return refuse(f, "attribute ", str_of(r->key), " stands there twice");
        seen |= 1u << (r - rules_of[of].rules);
        text = str_n(text.p + item.n + (comma != NULL), text.n - item.n - (comma != NULL));
    }
    return 0;
}

int owner_change(struct attribute **list, const char *owner, struct fault *f)
{
    int rc = owner_check(str_of(owner), f);

    if (!rc && (rc = attribute_set(list, str_of(OWNER_ATTRIBUTE), owner[0] ? owner : NULL)))
        fault_errno(f, -rc, "setting the owner");
    return rc;
}

int attributes_text(const struct json *map, struct buf *out, struct fault *f)
{
    json_each(it, map) {
        struct str key = json_as_str(it->key), value = json_as_str(it);

        if ((key.n && memchr(key.p, ',', key.n)) || (key.n && memchr(key.p, '=', key.n)) ||
            (value.n && memchr(value.p, ',', value.n)))
            return refuse(f, "attribute \"", key,
                          "\": neither key nor value may have a comma, nor the key a =");
        if (out->n)
            buf_putc(out, ',');
        buf_put_str(out, key);
        if (key.n && key.p[0] == '+') {
            buf_putc(out, '=');
            buf_put_str(out, value);
        }
    }
    return buf_failed(out) ? fault_errno(f, ENOMEM, "reading attributes") : 0;
}
