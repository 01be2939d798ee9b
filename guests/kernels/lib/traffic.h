/*
 * Numbered, hashed frames between guests whose drivers have stable slots (slots.h): every guest
 * sends to its peers and checks what they send, both at once.
 *
 *    hello ─▶ answered ─▶ data … ─▶ end ─▶ answered
 *
 * Each way, hello and end are repeated until they are answered, so a run starts and ends by itself
 * whatever carries the frames. The loop runs in ring 3 on x86, where it is native even if ring 0 is
 * emulated.
 *
 * Command line:
 *   peer=MAC      whom to exchange frames with
 *   other=MAC     a second one, which every `every=N`th (16) frame goes to
 *   frames=N      to send (0: only receive)          size=BYTES   of a frame (64; 0: mixed)
 *   window=N      unanswered frames to a peer (a quarter of the slots; 0: no limit)
 *   rate=N        frames a second (0: no limit)      batch=N      frames a doorbell (32)
 *   hash=full     fill and check all of a frame; head: only its first bytes (default full)
 *   mode=polled   never sleep; irq: sleep after `spin=N` looks in vain (1000)
 *   ring3=0       stay in ring 0
 *   hold=MS       sit on received slots that long once `hold_at=N` frames (frames / 2) have come
 *   flood=N       every Nth frame is followed by one to all
 *   secret=1      fill all slots with a secret first, look for those of the peers all the time
 *   tolerate=1    whatever comes, and a peer that falls silent, is no failure
 *   loss=N        so many lost frames are no failure  timeout=S   a peer may be silent (20)
 */
#ifndef LIB_TRAFFIC_H
#define LIB_TRAFFIC_H

#include "lib/slots.h"

#define TRAFFIC_PEERS	2
#define TRAFFIC_HISTORY 65536 /* frames back of which it is known whether they came */

struct traffic_peer {
	uint8_t mac[6];
	uint64_t secret;

	/* What goes there. */
	uint32_t frames, sent, acked; /* acked: what the peer has last asked for */
	uint32_t window;
	bool greeted, ended; /* our hello, our end was answered */
	bool owe_hello, owe_end;
	bool owe_hello_answer, owe_end_answer, owe_ack;
	uint64_t first_us, last_us, stalled_us; /* stalled: since when nothing was acked */

	/* What comes from there. */
	uint32_t next, told; /* next number expected; the one that the peer knows of */
	uint32_t their_window;
	bool end_seen;
	uint64_t received, lost, doubled, reordered, corrupt;
	uint64_t rx_first_us, rx_last_us, heard_us;
	uint8_t *seen; /* a bit a frame, TRAFFIC_HISTORY of them */
};

struct traffic {
	struct slots slots;
	struct traffic_peer peer[TRAFFIC_PEERS];
	unsigned nr_peers;
	unsigned every, batch, spin, flood, size;
	uint64_t rate, frames, sent; /* sent: data frames to anybody */
	bool polled, ring3, whole_hash, tolerate;
	bool to_other, flood_due;
	uint64_t loss, timeout_us;
	uint64_t start_us; /* of sending data; 0: not yet */
	uint64_t random;

	uint32_t hold_at;
	uint64_t hold_us, hold_until; /* hold_us: 0 once it is over */

	bool secret;
	uint64_t leaks, scans, scan_due;
	uint64_t repeat_due, control_us; /* control: last time that a hello or end came */
	uint64_t foreign, stalls;
	unsigned turns;
	bool tx_full;

	/* Called once a turn, with what to do wrong; or NULL. */
	void (*mischief)(struct traffic *t);
	bool sitting; /* do not look at what came */
	bool quit;    /* end now */
};

/* Reads the command line, starts clock, interrupts, NIC; prepare(), or NULL, is called before the
 * NIC is told anything, with its memory taken. */
void traffic_setup(struct traffic *t, void (*prepare)(struct traffic *t));
void traffic_run(struct traffic *t);
/* The RESULT line, and FAIL if it is no success. */
void traffic_report(struct traffic *t);

#endif
