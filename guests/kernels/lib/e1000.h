/*
 * Driver side of the Intel 82540EM (e1000): registers and two rings of legacy descriptors, one
 * buffer each. Registers and rings stay reachable, for guests that want to misuse them. Source:
 * Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual".
 */
#ifndef LIB_E1000_H
#define LIB_E1000_H

#include "lib/intr.h"
#include "lib/pci.h"

#define E1000_CTRL   0x0000
#define E1000_STATUS 0x0008
#define E1000_EERD   0x0014
#define E1000_ICR    0x00c0
#define E1000_IMS    0x00d0
#define E1000_IMC    0x00d8
#define E1000_RCTL   0x0100
#define E1000_TCTL   0x0400
#define E1000_RDBAL  0x2800
#define E1000_RDBAH  0x2804
#define E1000_RDLEN  0x2808
#define E1000_RDH    0x2810
#define E1000_RDT    0x2818
#define E1000_TDBAL  0x3800
#define E1000_TDBAH  0x3804
#define E1000_TDLEN  0x3808
#define E1000_TDH    0x3810
#define E1000_TDT    0x3818
#define E1000_RAL    0x5400
#define E1000_RAH    0x5404

#define E1000_CTRL_SLU	(1u << 6)
#define E1000_CTRL_RST	(1u << 26)
#define E1000_STATUS_LU (1u << 1)
#define E1000_RCTL_EN	(1u << 1)
#define E1000_RCTL_BAM	(1u << 15)
#define E1000_TCTL_EN	(1u << 1)
#define E1000_TCTL_PSP	(1u << 3)
#define E1000_INT_TXDW	(1u << 0)
#define E1000_INT_RXT0	(1u << 7)

#define E1000_TX_EOP  0x01
#define E1000_TX_IFCS 0x02
#define E1000_TX_RS   0x08
#define E1000_DD      0x01
#define E1000_EOP     0x02

#define E1000_RING 256

struct e1000_tx_desc {
	uint64_t address;
	uint16_t length;
	uint8_t cso, cmd;
	volatile uint8_t status;
	uint8_t css;
	uint16_t special;
};

struct e1000_rx_desc {
	uint64_t address;
	uint16_t length, checksum;
	volatile uint8_t status;
	uint8_t errors;
	uint16_t special;
};

struct e1000 {
	unsigned pci_dev;
	uintptr_t regs;
	struct e1000_tx_desc *tx;
	struct e1000_rx_desc *rx;
	void *tx_cookie[E1000_RING], *rx_cookie[E1000_RING];
	unsigned tx_done, tx_tail,
		tx_told; /* next to come back, next to use, TDT as last written */
	unsigned rx_next, rx_tail, rx_told;
	unsigned vector;
	volatile bool interrupted;
	volatile uint64_t interrupts;
	uint64_t kicks;
};

/* Finds the `index`th card and resets it. */
bool e1000_find(struct e1000 *e, unsigned index);
uint32_t e1000_get(const struct e1000 *e, unsigned reg);
void e1000_set(const struct e1000 *e, unsigned reg, uint32_t v);
/* Takes an interrupt vector and routes the card's line to it. */
void e1000_route(struct e1000 *e);
/* Rings, interrupt, both directions on. */
void e1000_start(struct e1000 *e);
void e1000_mac(const struct e1000 *e, uint8_t mac[6]);

/* False: the ring is full. */
bool e1000_give(struct e1000 *e, void *data, void *cookie);
bool e1000_send(struct e1000 *e, const void *data, uint32_t bytes, void *cookie);
/* What has come in, without its check sequence, and what was sent; NULL: nothing. */
void *e1000_receive(struct e1000 *e, uint32_t *bytes);
void *e1000_sent(struct e1000 *e);
void e1000_kick(struct e1000 *e);
/* Is there anything for the two above? */
bool e1000_more(const struct e1000 *e);
void e1000_wait(struct e1000 *e);

#endif
