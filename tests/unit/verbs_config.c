/* The verb that sets a configuration key in a running broker: what it changes,
 * what it refuses, what becomes of the file, and that it is there again after a restart. */
#include "tests/unit/verbs_help.h"

static char long_text[CONF_VALUE_MAX + 2];

static int set(const char *key, const char *value) { return broker_config_set(house, &tester, S(key), S(value), &f); }

static void test_config(void)
{
    const struct broker_config *old = broker_conf(house);
    char path[200];
    FILE *file;

    take_events();
    is_int(set("shortPollingTimeMills", "1234"), 0, "a key that can change while running");
    ok(broker_conf(house)->short_polling_time_mills == 1234 && old->short_polling_time_mills == 1000,
       "has changed, and who had the old configuration in hand still has it");
    is_text(broker_conf(house)->broker_name, old->broker_name, "all else is as it was");
    ok(on_disk("config/broker.properties", "shortPollingTimeMills=1234\n"), "it is on disk");
    ok(on_disk("audit.log",
               "\"what\":\"config.set\",\"path\":\"/broker/config/shortPollingTimeMills\",\"old\":\"1000\",\"new\":\"1234\""), "and in the audit file");
    is_text(take_events(), "~config:shortPollingTimeMills ", "the listener hears of it");
    ok(set("listenPort", "1") == -EPERM && f.rc == RC_NO_PERMISSION, "one that cannot: %s", f.text);
    is_int(set("noSuchKey", "1"), -EINVAL, "one that is not there: %s", f.text);
    is_int(set("shortPollingTimeMills", "soon"), -EINVAL, "a bad value: %s", f.text);
    is_int(set("brokerPermission", "8"), -ERANGE, "a value out of range: %s", f.text);
    is_int(set("regionId", "a\nlistenPort=1"), -EINVAL, "a value of two lines: %s", f.text);
    is_int(set("regionId", "a ;b"), -EINVAL, "one that the file would not give back");
    break_saves("broker.properties", true);
    ok(set("shortPollingTimeMills", "77") < 0 && broker_conf(house)->short_polling_time_mills == 1234,
       "one that cannot be saved is refused: %s", f.text);
    break_saves("broker.properties", false);
    is_text(take_events(), "", "nobody heard of those");

    snprintf(path, sizeof(path), "%s/config/broker.properties", house_dir);
    file = fopen(path, "w");
    if (!file || fputs("# ours\nshortPollingTimeMills = 1234\n\nother=1\nregionId=x", file) < 0 ||
        fclose(file))
        exit(2);
    is_int(set("shortPollingTimeMills", "4321"), 0, "in a file that somebody wrote");
    is_text(text_of("config/broker.properties"),
            "# ours\nshortPollingTimeMills=4321\n\nother=1\nregionId=x\n", "only its line changes");
    set("regionId", "here");
    set("brokerPermission", "6");
    memset(long_text, 'x', sizeof(long_text) - 1);
    is_int(set("regionId", long_text), -EINVAL, "a value that no line could hold: %s", f.text);
    long_text[CONF_VALUE_MAX] = 0;
    is_int(set("regionId", long_text), 0, "the longest that one can");
    take_events();
}

static void test_restart(void)
{
    house_close();
    house_open(NULL);
    is_int(broker_conf(house)->short_polling_time_mills, 4321, "after a restart a changed key is as it was");
    is_text(broker_conf(house)->region_id, long_text, "and a changed text, however long");
}

int main(void)
{
    verbs_open(0);
    test_config();
    test_restart();
    house_close();
    return tap_done();
}
