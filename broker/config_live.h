/* The configuration while the broker runs: live changes, and the file that keeps
 * them. A change makes a copy of the struct, sets the key, writes the file and
 * then swaps the pointer; old structs stay until close, so readers need no lock. */
#ifndef BROKER_CONFIG_LIVE_H
#define BROKER_CONFIG_LIVE_H

#include "broker/meta.h"
#include "broker/state.h"

/* Takes over *conf (which is cleared, also on failure) and makes it b->conf. Live changes are kept in conf_path; with
 * NULL in storePathRootDir/config/broker.properties, whose keys are taken now where the key still has its default
 * (what was said on the command line wins). 0 or -errno with f. */
int config_live_open(struct broker *b, struct broker_config *conf, const char *conf_path, struct fault *f);
void config_live_close(struct broker *b);

/* One key's change of many that go together; broker_config_set is the case of one. All or none. */
struct config_change {
    struct str key, value;
};
int config_live_set(struct broker *b, const struct caller *c, const struct config_change *changes, size_t n, struct fault *f);
/* The version of the configuration: grows with each change. */
struct data_version config_live_version(struct broker *b);

#endif
