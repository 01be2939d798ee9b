/*
 * What can be said of a NIC of a running lab: counters, and where its frames go now. A snapshot,
 * for who asks from outside.
 *
 * Whoever has the NIC's machine (guest.h); what it reads are atomics, or under the switch's lock.
 */
#ifndef VMM_NIC_INFO_H
#define VMM_NIC_INFO_H

#include "base/carrier.h"
#include "xtalk/netswitch.h"

struct nic_traffic {
	uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes;
};

/* Only ever count up; a guest's go on over its reboots. */
struct nic_counters {
	struct nic_traffic total, path[NR_PATHS];
	uint64_t tx_dropped, rx_dropped, tx_invalid, tx_spoofed, tx_held;
	uint64_t swaps, drain_timeouts, maps, rescues;
	uint64_t interrupts, doorbells, guest_faults;
};

/* What the model of the card counts, whichever it is. */
struct nic_signals {
	uint64_t interrupts, doorbells, guest_faults;
};

struct nic_info {
	bool plugged; /* its guest has a machine now; without one there is nothing but counters */
	bool link_up;
	struct netswitch_port_state port; /* its counters are in `counters`, too */
	struct nic_counters counters;
};

/* sw: NULL if the NIC is on no switch: always bound to its physical device, then. */
void nic_info_read(struct nic_info *out, struct port *port, const struct nic_signals *signals,
		   struct netswitch *sw);
void nic_counters_add(struct nic_counters *to, const struct nic_counters *more);

#endif
