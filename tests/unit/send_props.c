/* What of a sender's properties is stored: runs of entries as they came, without broken ones and those that are the
 * broker's to set. */
#include "broker/send_props.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/tap.h"

#define E(name, value) name "\1" value "\2"

static struct send_props p;
static struct fault f;

static void stored(const char *properties, const char *want, const char *what)
{
    size_t n = strlen(properties);
    char *text = malloc(n ? n : 1);         /* of its length, for the sanitizer */

    memcpy(text, properties, n);
    is_int(send_props_read(&p, str_n(text, n), false, &f), 0, "%s", what);
    ok(p.n == strlen(want) && memcmp(p.text, want, p.n) == 0, "is stored as it should be");
    free(text);
}

static void test_runs(void)
{
    stored("", "", "nothing");
    stored(E("A", "1") E("B", "2"), E("A", "1") E("B", "2"), "all as they came");
    stored(E("A", "1") "B\1" "2", E("A", "1") E("B", "2"), "the end mark that is missing");
    stored(E("CLUSTER", "c") E("A", "1"), E("A", "1"), "one of the broker's before");
    stored(E("A", "1") E("TRACE_ON", "x") E("B", "2"), E("A", "1") E("B", "2"), "between");
    stored(E("A", "1") "MSG_REGION\1r", E("A", "1"), "and behind, without its end");
    stored(E("A", "1") "\2" "none\2" "\1x\2" E("B", "2"), E("A", "1") E("B", "2"), "broken ones between");
    stored(E("CLUSTER", "c") E("POP_CK", "c"), "", "nothing but the broker's");
    is_int(send_props_read(&p, str_of(E("TAGS", "a") E("TAGS", "b")), false, &f), 0, "the same name twice");
    ok(p.n == 14 && str_is(p.tags, "b"), "both are stored, the last one counts");
}

static void test_dead(void)
{
    struct str properties = str_of(E("A", "1") E("DELAY", "3") E("B", "2"));

    is_int(send_props_read(&p, properties, true, &f), 0, "on its way to a dead-letter topic");
    ok(p.n == 8 && memcmp(p.text, E("A", "1") E("B", "2"), p.n) == 0, "a message loses its delay level");
    ok(str_is(p.delay, "3"), "which the broker has read");
}

/* Around the most that a record holds, with and without the end mark. */
static void test_size(void)
{
    static char text[PROPERTIES_MAX + 2];
    int wrong = 0;

    memset(text, 'x', sizeof(text));
    text[1] = 1;
    for (size_t n = PROPERTIES_MAX - 3; n <= PROPERTIES_MAX + 1; n++) {
        int rc = send_props_read(&p, str_n(text, n), false, &f);
        wrong += n < PROPERTIES_MAX ? rc != 0 || p.n != n + 1 || p.text[n] != 2 : rc != -EMSGSIZE;
    }
    is_int(wrong, 0, "what does not fit with its end mark is refused: %s", f.text);
}

int main(void)
{
    test_runs();
    test_dead();
    test_size();
    return tap_done();
}
