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

#endif
