/*
 * What network interfaces this network namespace has: one snapshot by rtnetlink. Unlike
 * /sys/class/net it is always about the namespace of the caller, and it starts no process.
 * And the one setting that `ip` can't make.
 *
 * Any thread; no state.
 */
#ifndef VMM_HOSTNET_LINK_H
#define VMM_HOSTNET_LINK_H

#include <net/if.h>

#include "base/types.h"

enum link_kind { LINK_OTHER, LINK_BRIDGE, LINK_TAP };

struct link {
	int index;
	int master; /* index of the bridge (or bond, …) that it is a port of, 0 if none */
	enum link_kind kind;
	bool up;
	bool vlan_filtering; /* a bridge that lets VLANs decide who hears whom */
	bool isolated;	     /* a port of a bridge that hears no other isolated port */
	unsigned mtu_bytes;
	uint8_t mac[6];
	char name[IFNAMSIZ];
	char alias[64]; /* "" if none; cut if longer */
};

struct link_table {
	struct link *link;
	unsigned nr;
	unsigned room;
};

/* 0 or -errno; release with link_table_free() either way. */
int link_table_read(struct link_table *t);
void link_table_free(struct link_table *t);

const struct link *link_find(const struct link_table *t, const char *name);
/* How many interfaces are ports of the one with this index. */
unsigned link_count_ports(const struct link_table *t, int index);

/*
 * Takes away the interface's queueing discipline, so that frames pass it in the order in which they
 * were sent. -ENODEV: there is no such interface; -EPERM; others from the kernel.
 */
int link_set_noqueue(const char *name);

/* May be handed to the kernel, to `ip -batch` and to a shell, and means the same to all three. */
bool link_name_valid(const char *name);

#endif
