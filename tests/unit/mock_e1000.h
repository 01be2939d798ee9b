/*
 * A whole e1000 on a PCI bus, and its driver's side: registers over the bus, rings in guest memory.
 * It writes whatever it is told to, right or wrong. The loop is not running unless a test starts
 * it, so posted work is run by mock_e1000_run().
 */
#ifndef TESTS_MOCK_E1000_H
#define TESTS_MOCK_E1000_H

#include "nic/e1000.h"
#include "nic/e1000_regs.h"
#include "tests/unit/mock_platform.h"

#define ME_MEM	    MIB(8)
#define ME_GSI	    17 /* device 1, pin A */
#define ME_TX_RING  0x10000
#define ME_RX_RING  0x20000
#define ME_DATA	    0x40000  /* what is sent */
#define ME_BUFS	    0x100000 /* receive buffers, one each 16 KiB */
#define ME_BUF_STEP 0x4000

struct mock_e1000 {
	struct mock_platform mp;
	struct pci_host host;
	struct loop loop;
	struct e1000 *e;
	struct port *port;
	gpa_t bar;
	uint16_t io;
	uint32_t nr; /* descriptors in each ring */
	uint32_t tx_tail, rx_tail, rx_next;
	gpa_t tx_base, rx_base; /* of stable slots */
	uint32_t stride;
};

void mock_e1000_init(struct mock_e1000 *m, const char *name, uint8_t id);
void mock_e1000_fini(struct mock_e1000 *m);
void mock_e1000_run(struct mock_e1000 *m);

uint32_t me_get(struct mock_e1000 *m, unsigned reg);
void me_set(struct mock_e1000 *m, unsigned reg, uint32_t v);

/* Rings of `nr` descriptors, all of them empty, both directions on; plus these bits of RCTL. */
void me_start(struct mock_e1000 *m, uint32_t nr, uint32_t rctl);

/* Writes a transmit descriptor at the driver's tail, which moves, but not the register. */
void me_tx_desc(struct mock_e1000 *m, uint64_t address, uint64_t second);
/* One legacy descriptor with EOP and RS for `len` bytes at ME_DATA + offset; and the doorbell. */
void me_tx(struct mock_e1000 *m, const void *frame, size_t len);
void me_tx_kick(struct mock_e1000 *m);
uint8_t me_tx_status(struct mock_e1000 *m, uint32_t index);

/* Gives n more buffers to the device. */
void me_rx_give(struct mock_e1000 *m, unsigned n);
uint64_t me_rx_second(struct mock_e1000 *m, uint32_t index);

/*
 * A driver with stable slots: slot i of a ring lies at base + i * stride. me_slots_start() is
 * me_start() and gives all receive slots, the one at the tail included.
 */
void me_slots_start(struct mock_e1000 *m, uint32_t nr, uint32_t rctl, gpa_t tx_base, gpa_t rx_base,
		    uint32_t stride);
gpa_t me_tx_slot(struct mock_e1000 *m, uint32_t index);
gpa_t me_rx_slot(struct mock_e1000 *m, uint32_t index);
/* Writes a frame to the next slot, with EOP and RS; no doorbell. False: the ring is full. */
bool me_slot_send(struct mock_e1000 *m, const void *frame, size_t len);
/* Reads the next received frame in place; its slot is not given back. Returns its bytes, FCS
 * included; 0: none, to be skipped; -1: nothing has come. */
int me_slot_read(struct mock_e1000 *m, void *frame);
/* Gives n slots more back, in ring order: those that were read, if it is no lie. */
void me_slot_give(struct mock_e1000 *m, unsigned n);

#endif
