/*
 * Words that the whole cross-talk layer uses: bindings, rules, events.
 *
 * The layer sees devices only as ports and carriers (base/carrier.h). A port has a transmit element
 * and a receive element; what the transmit element is bound to now is its binding. A disk, a sound
 * or a display device becomes a port by implementing struct port_ops: what moves need not be
 * Ethernet but for the addresses that detector and switch look at.
 */
#ifndef XTALK_XTALK_H
#define XTALK_XTALK_H

#include "base/carrier.h"
#include "base/types.h"

enum binding {
	BINDING_UPLINK, /* every frame goes to the physical device */
	BINDING_DIRECT, /* each frame goes where its own address says, to guests with one copy */
	BINDING_MAPPED, /* as direct, and the slots of it and of one receiver are the same pages */
};
const char *binding_name(enum binding b);

enum xtalk_mode { XTALK_OFF, XTALK_DYNAMIC, XTALK_STATIC };

/* How a net detects and what it bears with; from vm.ini. */
struct xtalk_rules {
	enum xtalk_mode mode;
	unsigned threshold;	/* frames to one guest … */
	unsigned share_percent; /* … that make up at least so much … */
	unsigned window;	/* … of the last so many frames, XTALK_WINDOW_MAX at most */
	unsigned hold_us;	/* a receiver without buffers holds its sender back for so long */
	bool map;		/* `mapped` may be used, where it is safe */
	unsigned slot_deadline_us; /* a receiver may sit on a mapped slot for so long */
};

#define XTALK_WINDOW_MAX 256

enum xtalk_why {
	WHY_TRAFFIC,  /* the detector saw cross-talk */
	WHY_STATIC,   /* crosstalk = static */
	WHY_PEER,     /* peer = */
	WHY_SHARED,   /* both NICs have the same physical device, or none */
	WHY_OUTSIDE,  /* most frames go to what is no guest */
	WHY_COMMAND,  /* xvmm swap */
	WHY_TIMEOUT,  /* what the old path carried did not come through in time: swap given up */
	WHY_RESET,    /* driver reset, guest stopped or restarted */
	WHY_OTHERS,   /* others than its sender have frames for a mapped receiver */
	WHY_SLOTS,    /* a slot was not where the contract says: see detail */
	WHY_DEADLINE, /* a receiver sat on its slots */
	WHY_FRAME,    /* a frame that the mapped receiver can't take as it is: see detail */
};
const char *xtalk_why_name(enum xtalk_why why);

/* One change of binding. Names are copied: an event outlives its guests. */
struct xtalk_event {
	uint64_t seq;	  /* counts up over the lab */
	uint64_t time_ns; /* CLOCK_REALTIME */
	char net[32];
	char nic[72];  /* whose transmit element */
	char peer[72]; /* to whom it talks; "" if that is no guest */
	enum binding from, to;
	enum xtalk_why why;
	uint32_t frames;    /* to that destination in the window, when it was decided */
	uint32_t window;    /* frames in the window */
	uint64_t detect_us; /* from the first of these frames to the decision */
	uint64_t swap_us;   /* from the decision until the new path was open: the sender was held */
	char detail[96];    /* more of why, in words; "" */
};

#endif
