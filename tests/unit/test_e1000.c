/* e1000: registers, interrupt, and both rings against a driver that does right and wrong. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "base/vnet.h"
#include "tests/unit/mock_e1000.h"
#include "tests/unit/mock_net.h"

static struct mock_e1000 m;
static struct mock_carrier car;
static uint8_t frame[FRAME_MAX_BYTES + 64], out[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;

#define EOP_RS (TXD_CMD_EOP | TXD_CMD_RS)

static void setup(void)
{
	mock_e1000_init(&m, "a.eth0", 1);
	mock_carrier_init(&car);
	e1000_set_carrier(m.e, &car.carrier);
}

static void teardown(void)
{
	mock_e1000_fini(&m);
}

static uint64_t invalid(void)
{
	return atomic_load(&m.port->stats.tx_invalid);
}

static void put16be(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16be(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* -- Registers -- */

START_TEST(pci_function)
{
	struct pci_fn *fn = m.host.fn[1];

	ck_assert_uint_eq(pci_cfg_peek(fn, 0, 4), 0x100e8086);
	ck_assert_uint_eq(pci_cfg_peek(fn, 8, 4) >> 8, 0x020000);
	ck_assert_uint_eq(fn->bar[0].size_bytes, KIB(128));
	ck_assert_int_eq(fn->bar[0].kind, PCI_BAR_MEM32);
	ck_assert_uint_eq(fn->bar[1].size_bytes, 64);
	ck_assert_int_eq(fn->bar[1].kind, PCI_BAR_IO);
	ck_assert_uint_eq(pci_cfg_peek(fn, 0x3d, 1), 1); /* pin A */
}
END_TEST

static void check_reset_values(void)
{
	ck_assert_uint_eq(me_get(&m, REG_STATUS) & (STATUS_FD | STATUS_LU | 0xc0),
			  STATUS_FD | STATUS_LU | STATUS_SPEED_1000);
	ck_assert_uint_eq(me_get(&m, REG_RCTL), 0);
	ck_assert_uint_eq(me_get(&m, REG_TCTL), 0);
	ck_assert_uint_eq(me_get(&m, REG_IMS), 0);
	ck_assert_uint_eq(me_get(&m, REG_RA), 0x00005452);
	ck_assert_uint_eq(me_get(&m, REG_RA + 4), RAH_AV | 0x0100);
	ck_assert_uint_eq(me_get(&m, REG_RA + 12), 0);
	ck_assert_uint_eq(me_get(&m, REG_MTA), 0);
	ck_assert_uint_eq(me_get(&m, REG_TDH) | me_get(&m, REG_TDT) | me_get(&m, REG_RDH) |
				  me_get(&m, REG_RDT) | me_get(&m, REG_TDLEN),
			  0);
}

START_TEST(reset)
{
	static const uint32_t how[] = { CTRL_RST, 0, 1 };

	check_reset_values();
	for (unsigned i = 0; i < 3; i++) {
		me_start(&m, 8, 0);
		me_set(&m, REG_RA, 0x12345678);
		me_set(&m, REG_RA + 12, 0xffffffff);
		me_set(&m, REG_MTA, 1);
		me_set(&m, REG_IMS, ICR_ALL);
		me_set(&m, REG_ICS, ICR_RXO);
		me_rx_give(&m, 4);
		ck_assert(mock_line_level(&m.mp, ME_GSI));
		ck_assert_uint_eq(car.starts, i + 1);
		if (i == 0) {
			me_set(&m, REG_CTRL, how[0]);
		} else if (i == 1) {
			me_set(&m, REG_CTRL_EXT, CTRL_EXT_EE_RST);
		} else {
			/* Linux resets over the ports. */
			mock_pio_write(&m.mp, m.io, REG_CTRL, 4);
			ck_assert_uint_eq(mock_pio_read(&m.mp, m.io, 4), REG_CTRL);
			mock_pio_write(&m.mp, m.io + 4u, CTRL_RST | CTRL_SLU, 4);
		}
		ck_assert(!mock_line_level(&m.mp, ME_GSI));
		ck_assert_uint_eq(me_get(&m, REG_CTRL) & CTRL_RST, 0);
		check_reset_values();
		ck_assert_uint_eq(car.stops, i + 1);
	}
}
END_TEST

START_TEST(ports_reach_registers)
{
	mock_pio_write(&m.mp, m.io, REG_VET, 4);
	ck_assert_uint_eq(mock_pio_read(&m.mp, m.io + 4u, 4), 0x8100);
	mock_pio_write(&m.mp, m.io + 4u, 0x88a8, 4);
	ck_assert_uint_eq(me_get(&m, REG_VET), 0x88a8);
	/* Narrow, and beyond: nothing. */
	mock_pio_write(&m.mp, m.io + 4u, 0x1234, 2);
	ck_assert_uint_eq(me_get(&m, REG_VET), 0x88a8);
	mock_pio_write(&m.mp, m.io + 8u, 0x1234, 4);
	mock_pio_write(&m.mp, m.io, 0xffffffff, 4);
	ck_assert_uint_lt(mock_pio_read(&m.mp, m.io, 4), E1000_MMIO_BYTES);
	ck_assert_uint_eq(mock_pio_read(&m.mp, m.io + 4u, 4), 0);
	mock_pio_write(&m.mp, m.io + 4u, 1, 4);
}
END_TEST

START_TEST(access_sizes)
{
	me_set(&m, REG_MTA, 0x44332211);
	me_set(&m, REG_MTA + 4, 0x88776655);
	ck_assert_uint_eq(mock_mmio_read(&m.mp, m.bar + REG_MTA + 1, 1), 0x22);
	ck_assert_uint_eq(mock_mmio_read(&m.mp, m.bar + REG_MTA + 2, 2), 0x4433);
	ck_assert_uint_eq(mock_mmio_read(&m.mp, m.bar + REG_MTA, 8), 0x8877665544332211);
	mock_mmio_write(&m.mp, m.bar + REG_MTA, 0xff, 1);
	mock_mmio_write(&m.mp, m.bar + REG_MTA, 0xffff, 2);
	mock_mmio_write(&m.mp, m.bar + REG_MTA + 2, 0xffffffff, 4);
	ck_assert_uint_eq(me_get(&m, REG_MTA), 0x44332211);
	mock_mmio_write(&m.mp, m.bar + REG_MTA, 0x0807060504030201, 8);
	ck_assert_uint_eq(me_get(&m, REG_MTA + 4), 0x08070605);
	/* All of the BAR can be read and written without harm. */
	for (unsigned at = 0; at < E1000_MMIO_BYTES; at += 4) {
		me_get(&m, at);
		me_set(&m, at, 0xffffffff & ~(CTRL_RST | CTRL_PHY_RST));
		mock_mmio_read(&m.mp, m.bar + at, 8);
	}
	ck_assert_uint_eq(me_get(&m, 0x10000), 0);
	mock_e1000_run(&m);
}
END_TEST

static uint16_t eeprom_word(unsigned at)
{
	uint32_t v;

	me_set(&m, REG_EERD, EERD_START | at << EERD_ADDR_SHIFT);
	v = me_get(&m, REG_EERD);
	ck_assert(v & EERD_DONE);
	return (uint16_t)(v >> EERD_DATA_SHIFT);
}

START_TEST(eeprom_words)
{
	uint16_t sum = 0;

	for (unsigned i = 0; i < EEPROM_WORDS; i++)
		sum = (uint16_t)(sum + eeprom_word(i));
	ck_assert_uint_eq(sum, 0xbaba);
	ck_assert_uint_eq(eeprom_word(0), 0x5452);
	ck_assert_uint_eq(eeprom_word(2), 0x0100);
	ck_assert_uint_eq(eeprom_word(0x0d), E1000_DEVICE_ID);
	ck_assert_uint_eq(eeprom_word(EEPROM_WORDS), 0);
	ck_assert_uint_eq(eeprom_word(255), 0);
}
END_TEST

/* The pins, as a driver moves them. */
static uint32_t pins;

static bool clock_bit(bool in)
{
	bool bit;

	pins = (pins & ~EECD_DI) | (in ? EECD_DI : 0);
	me_set(&m, REG_EECD, pins);
	me_set(&m, REG_EECD, pins | EECD_SK);
	bit = me_get(&m, REG_EECD) & EECD_DO;
	me_set(&m, REG_EECD, pins);
	return bit;
}

static void shift_out(unsigned bits, unsigned n)
{
	while (n--)
		clock_bit(bits >> n & 1);
}

static unsigned shift_in(unsigned n)
{
	unsigned v = 0;

	while (n--)
		v = v << 1 | clock_bit(false);
	return v;
}

START_TEST(eeprom_pins)
{
	uint16_t sum = 0;

	me_set(&m, REG_EECD, EECD_REQ);
	ck_assert_uint_eq(me_get(&m, REG_EECD) & (EECD_GNT | EECD_PRES), EECD_GNT | EECD_PRES);
	for (unsigned i = 0; i < EEPROM_WORDS; i++) {
		pins = EECD_REQ | EECD_CS;
		shift_out(6, 3);
		shift_out(i, 6);
		sum = (uint16_t)(sum + shift_in(16));
		pins = EECD_REQ;
		me_set(&m, REG_EECD, pins);
	}
	ck_assert_uint_eq(sum, 0xbaba);
	/* All in one read, with zeros before the start bit. */
	pins = EECD_REQ | EECD_CS;
	shift_out(0, 5);
	shift_out(6, 3);
	shift_out(0, 6);
	sum = 0;
	for (unsigned i = 0; i < EEPROM_WORDS; i++)
		sum = (uint16_t)(sum + shift_in(16));
	ck_assert_uint_eq(sum, 0xbaba);
	ck_assert_uint_eq(shift_in(16), 0x5452);
	me_set(&m, REG_EECD, 0);
	ck_assert_uint_eq(me_get(&m, REG_EECD) & EECD_GNT, 0);
	/* Writing changes nothing. */
	pins = EECD_REQ | EECD_CS;
	shift_out(5, 3);
	shift_out(0, 6);
	shift_out(0xffff, 16);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert(clock_bit(i & 1));
	me_set(&m, REG_EECD, 0);
	ck_assert_uint_eq(eeprom_word(0), 0x5452);
}
END_TEST

static uint16_t phy_read(unsigned reg)
{
	uint32_t v;

	me_set(&m, REG_MDIC, MDIC_OP_READ | PHY_ADDRESS << MDIC_PHY_SHIFT | reg << MDIC_REG_SHIFT);
	v = me_get(&m, REG_MDIC);
	ck_assert_uint_eq(v & (MDIC_READY | MDIC_ERROR), MDIC_READY);
	return (uint16_t)v;
}

static void phy_write(unsigned reg, uint16_t v)
{
	me_set(&m, REG_MDIC,
	       MDIC_OP_WRITE | PHY_ADDRESS << MDIC_PHY_SHIFT | reg << MDIC_REG_SHIFT | v);
	ck_assert_uint_eq(me_get(&m, REG_MDIC) & (MDIC_READY | MDIC_ERROR), MDIC_READY);
}

START_TEST(phy)
{
	ck_assert_uint_eq(phy_read(PHY_ID1), 0x0141);
	ck_assert_uint_eq(phy_read(PHY_ID2) & 0xfff0, 0x0c20);
	ck_assert_uint_eq(phy_read(PHY_STATUS) & 0x24, 0x24); /* negotiated, link */
	phy_write(PHY_ID1, 0);
	ck_assert_uint_eq(phy_read(PHY_ID1), 0x0141);
	phy_write(PHY_SPEC_CTRL, 0x1234);
	ck_assert_uint_eq(phy_read(PHY_SPEC_CTRL), 0x1234);
	me_get(&m, REG_ICR);
	phy_write(PHY_CTRL, 0x1340);
	ck_assert_uint_eq(phy_read(PHY_CTRL), 0x1140);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_LSC);
	phy_write(PHY_CTRL, 0x8000);
	ck_assert_uint_eq(phy_read(PHY_SPEC_CTRL), 0x0360);
	/* Nobody at another address. */
	me_set(&m, REG_MDIC, MDIC_OP_READ | 2 << MDIC_PHY_SHIFT);
	ck_assert(me_get(&m, REG_MDIC) & MDIC_ERROR);
	me_get(&m, REG_ICR);
	me_set(&m, REG_MDIC, MDIC_OP_READ | MDIC_INT_EN | PHY_ADDRESS << MDIC_PHY_SHIFT);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_MDAC);
}
END_TEST

START_TEST(link_state)
{
	ck_assert(me_get(&m, REG_STATUS) & STATUS_LU);
	ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
	car.up = false;
	m.port->ops->link_changed(m.port);
	mock_e1000_run(&m);
	ck_assert(!(me_get(&m, REG_STATUS) & STATUS_LU));
	ck_assert_uint_eq(phy_read(PHY_STATUS) & 4, 0);
	ck_assert_uint_eq(phy_read(PHY_LP_ABILITY), 0);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_LSC);
	m.port->ops->link_changed(m.port);
	mock_e1000_run(&m);
	ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
	car.up = true;
	m.port->ops->link_changed(m.port);
	mock_e1000_run(&m);
	ck_assert(me_get(&m, REG_STATUS) & STATUS_LU);
	phy_write(PHY_CTRL, 0x1940); /* powered down */
	ck_assert(!(me_get(&m, REG_STATUS) & STATUS_LU));
	phy_write(PHY_CTRL, 0x1140);
	me_set(&m, REG_CTRL, 0);
	ck_assert(!(me_get(&m, REG_STATUS) & STATUS_LU));
	me_set(&m, REG_CTRL, CTRL_SLU);
	ck_assert(me_get(&m, REG_STATUS) & STATUS_LU);
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_PHY_RST);
	ck_assert(me_get(&m, REG_ICR) & ICR_LSC);
}
END_TEST

START_TEST(interrupt)
{
	me_set(&m, REG_ICS, ICR_RXT0 | 0xfff00000);
	ck_assert(!mock_line_level(&m.mp, ME_GSI));
	me_set(&m, REG_IMS, ICR_TXDW);
	ck_assert(!mock_line_level(&m.mp, ME_GSI));
	me_set(&m, REG_IMS, ICR_RXT0);
	ck_assert_uint_eq(me_get(&m, REG_IMS), ICR_TXDW | ICR_RXT0);
	ck_assert(mock_line_level(&m.mp, ME_GSI));
	me_set(&m, REG_IMC, ICR_RXT0);
	ck_assert(!mock_line_level(&m.mp, ME_GSI));
	me_set(&m, REG_IMS, ICR_RXT0);
	me_set(&m, REG_ICS, ICR_LSC);
	me_set(&m, REG_ICR, ICR_RXT0); /* acknowledges that one */
	ck_assert(!mock_line_level(&m.mp, ME_GSI));
	me_set(&m, REG_ICS, ICR_TXDW);
	ck_assert(mock_line_level(&m.mp, ME_GSI));
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_LSC | ICR_TXDW);
	ck_assert(!mock_line_level(&m.mp, ME_GSI));
	ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
}
END_TEST

START_TEST(carrier_follows_enable_bits)
{
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), -ENOTCONN);
	me_set(&m, REG_TCTL, TCTL_EN);
	ck_assert_uint_eq(car.starts, 1);
	me_set(&m, REG_RCTL, RCTL_EN);
	ck_assert_uint_eq(car.starts, 1);
	ck_assert_uint_ge(car.rx_readies, 1);
	me_set(&m, REG_TCTL, 0);
	ck_assert_uint_eq(car.stops, 0);
	me_set(&m, REG_RCTL, 0);
	ck_assert_uint_eq(car.stops, 1);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), -ENOTCONN);
	car.start_err = -EIO;
	me_set(&m, REG_RCTL, RCTL_EN);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), -ENOTCONN);
	car.start_err = 0;
	me_set(&m, REG_RCTL, RCTL_EN);
	ck_assert_uint_eq(car.starts, 3);
}
END_TEST

/* -- Transmit -- */

START_TEST(tx_handshake)
{
	me_start(&m, 8, 0);
	me_set(&m, REG_IMS, ICR_TXDW);
	for (uint32_t i = 0; i < 20; i++) {
		size_t len = 60 + 70 * i;

		mock_frame_fill(frame, len, 2, 1, i);
		me_tx(&m, frame, len);
		ck_assert_uint_eq(car.sends, i + 1);
		ck_assert_uint_eq(car.len, len);
		ck_assert_mem_eq(car.data, frame, len);
		ck_assert_mem_eq(&car.hdr, &plain, sizeof(plain));
		ck_assert_uint_eq(me_tx_status(&m, i % 8), TXD_STAT_DD);
		ck_assert_uint_eq(me_get(&m, REG_TDH), (i + 1) % 8);
		ck_assert(mock_line_level(&m.mp, ME_GSI));
		ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_TXDW | ICR_TXQE);
	}
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 20);
	ck_assert_uint_eq(atomic_load(&m.port->stats.tx_frames), 20);
}
END_TEST

START_TEST(tx_needs_no_report)
{
	me_start(&m, 8, 0);
	mock_frame_fill(frame, 100, 2, 1, 1);
	gmem_write(&m.mp.mem, ME_DATA, frame, 100);
	me_tx_desc(&m, ME_DATA, 100 | TXD_CMD_EOP);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert_uint_eq(me_tx_status(&m, 0), 0);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 1);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_TXQE);
}
END_TEST

START_TEST(tx_off)
{
	me_start(&m, 8, 0);
	me_set(&m, REG_TCTL, 0);
	mock_frame_fill(frame, 100, 2, 1, 1);
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(car.sends, 0);
	me_set(&m, REG_TCTL, TCTL_EN);
	ck_assert_uint_eq(car.sends, 1);
}
END_TEST

/* A frame in many descriptors, one of them null, in two doorbells. */
START_TEST(tx_pieces)
{
	me_start(&m, 16, 0);
	mock_frame_fill(frame, 1400, 2, 1, 7);
	gmem_write(&m.mp.mem, ME_DATA, frame, 1400);
	me_tx_desc(&m, ME_DATA, 1 | TXD_CMD_RS);
	me_tx_desc(&m, ME_DATA + 1, 16 | TXD_CMD_RS);
	me_tx_desc(&m, ~0ull, 0); /* of no length: the address does not count */
	me_tx_kick(&m);
	/* Its buffers are still ours. */
	ck_assert_uint_eq(me_tx_status(&m, 0), 0);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 0);
	me_tx_desc(&m, ME_DATA + 17, 1000);
	me_tx_desc(&m, ME_DATA + 1017, 383 | EOP_RS);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert_uint_eq(car.len, 1400);
	ck_assert_mem_eq(car.data, frame, 1400);
	ck_assert_uint_eq(me_tx_status(&m, 0), TXD_STAT_DD);
	ck_assert_uint_eq(me_tx_status(&m, 1), TXD_STAT_DD);
	ck_assert_uint_eq(me_tx_status(&m, 3), 0);
	ck_assert_uint_eq(me_tx_status(&m, 4), TXD_STAT_DD);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 5);
}
END_TEST

START_TEST(tx_held_back)
{
	me_start(&m, 8, 0);
	car.eagain = 1;
	mock_frame_fill(frame, 100, 2, 1, 1);
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(car.sends, 0);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 0);
	ck_assert_uint_eq(me_tx_status(&m, 0), 0);
	ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
	/* Another doorbell is no reason to try again. */
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(car.sends, 0);
	m.port->ops->tx_resume(m.port);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.sends, 2);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 2);
	/* A reset forgets the frame that waits. */
	car.eagain = 1;
	me_tx(&m, frame, 100);
	me_set(&m, REG_CTRL, CTRL_RST);
	me_start(&m, 8, 0);
	m.port->ops->tx_resume(m.port);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.sends, 2);
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(car.sends, 3);
}
END_TEST

START_TEST(tx_many)
{
	me_start(&m, 4096, 0);
	mock_frame_fill(frame, 60, 2, 1, 1);
	gmem_write(&m.mp.mem, ME_DATA, frame, 60);
	/* More than a turn of the loop's takes at once. */
	for (unsigned i = 0; i < 1000; i++)
		me_tx_desc(&m, ME_DATA, 60 | EOP_RS);
	me_set(&m, REG_TDT, m.tx_tail);
	for (unsigned i = 0; i < 6; i++)
		mock_e1000_run(&m);
	ck_assert_uint_eq(car.sends, 1000);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 1000);
}
END_TEST

START_TEST(tx_vlan)
{
	me_start(&m, 8, 0);
	mock_frame_fill(frame, 200, 2, 1, 3);
	gmem_write(&m.mp.mem, ME_DATA, frame, 200);
	/* Not without CTRL.VME. */
	me_tx_desc(&m, ME_DATA, 200 | EOP_RS | TXD_CMD_VLE | (uint64_t)0x2064 << 48);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.len, 200);
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_VME);
	me_tx_desc(&m, ME_DATA, 100);
	me_tx_desc(&m, ME_DATA + 100, 100 | EOP_RS | TXD_CMD_VLE | (uint64_t)0x2064 << 48);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.len, 204);
	ck_assert_mem_eq(car.data, frame, 12);
	ck_assert_uint_eq(get16be(car.data + 12), 0x8100);
	ck_assert_uint_eq(get16be(car.data + 14), 0x2064);
	ck_assert_mem_eq(car.data + 16, frame + 12, 188);
}
END_TEST

static uint64_t ctx_first(unsigned ipcss, unsigned ipcso, unsigned ipcse, unsigned tucss,
			  unsigned tucso, unsigned tucse)
{
	return ipcss | ipcso << 8 | (uint64_t)ipcse << 16 | (uint64_t)tucss << 32 |
	       (uint64_t)tucso << 40 | (uint64_t)tucse << 48;
}

static void tx_ctx(uint64_t first, uint32_t tucmd, unsigned hdr_len, unsigned mss)
{
	me_tx_desc(&m, first, TXD_CMD_DEXT | tucmd | (uint64_t)hdr_len << 40 | (uint64_t)mss << 48);
}

static void tx_data(size_t len, uint32_t cmd, unsigned popts)
{
	gmem_write(&m.mp.mem, ME_DATA, frame, len);
	me_tx_desc(&m, ME_DATA,
		   len | TXD_DTYP_DATA << TXD_DTYP_SHIFT | TXD_CMD_DEXT | cmd | EOP_RS |
			   (uint64_t)popts << 40);
}

/* Sum of big-endian words, folded: 0xffff where a checksum is right. */
static unsigned sum16(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* TCP over IPv4, as Linux prepares it for the card. */
static void fill_tcp4(size_t len, bool tso)
{
	uint8_t *ip = frame + 14, *tcp = ip + 20;

	mock_frame_fill(frame, len, 2, 1, (uint32_t)len);
	put16be(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16be(ip + 2, tso ? 0 : (unsigned)len - 14);
	ip[9] = 6;
	put16be(ip + 10, 0);
	tcp[12] = 0x50;
	tcp[13] = 0x18;
	/* The pseudo header's sum, without the length where there will be several. */
	put16be(tcp + 16, 0);
	put16be(tcp + 16,
		sum16((uint8_t[]){ 0, 6, 0, 0, ip[12], ip[13], ip[14], ip[15], ip[16], ip[17],
				   ip[18], ip[19], tso ? 0 : (uint8_t)((len - 34) >> 8),
				   tso ? 0 : (uint8_t)(len - 34) },
		      14));
}

/* Is the TCP checksum right once somebody has completed it as the header says? */
static bool tcp4_would_be_right(void)
{
	const uint8_t *ip = car.data + 14;
	size_t tcp_len = car.len - 34;
	uint8_t pseudo[12] = {
		ip[12], ip[13], ip[14], ip[15], ip[16], ip[17], ip[18], ip[19], 0, 6
	};
	uint8_t *field = car.data + car.hdr.csum_start + car.hdr.csum_offset;

	put16be(pseudo + 10, (unsigned)tcp_len);
	ck_assert_uint_eq(car.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	/* The field holds the pseudo header's sum. */
	return get16be(field) == sum16(pseudo, 12);
}

START_TEST(tx_csum_legacy)
{
	me_start(&m, 8, 0);
	mock_frame_fill(frame, 200, 2, 1, 3);
	gmem_write(&m.mp.mem, ME_DATA, frame, 200);
	me_tx_desc(&m, ME_DATA, 100 | (uint64_t)34 << 40);
	me_tx_desc(&m, ME_DATA + 100, 100 | EOP_RS | TXD_CMD_IC | 50u << 16);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(car.hdr.csum_start, 34);
	ck_assert_uint_eq(car.hdr.csum_offset, 16);
	ck_assert_mem_eq(car.data, frame, 200);
	/* A field before what it covers cannot be said in the header: done here. */
	me_tx_desc(&m, ME_DATA, 200 | EOP_RS | TXD_CMD_IC | 20u << 16 | (uint64_t)35 << 40);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.hdr.flags, 0);
	ck_assert_uint_eq(get16be(car.data + 20), ~sum16(frame + 35, 165) & 0xffff);
	ck_assert_uint_eq(car.sends, 2);
}
END_TEST

START_TEST(tx_csum_extended)
{
	me_start(&m, 16, 0);
	fill_tcp4(1000, false);
	tx_ctx(ctx_first(14, 24, 33, 34, 50, 0), TXD_TUCMD_IP | TXD_TUCMD_TCP, 0, 0);
	me_tx_kick(&m);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 1); /* alone, it is done at once */
	tx_data(1000, 0, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert_uint_eq(car.hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	ck_assert_uint_eq(car.hdr.csum_start, 34);
	ck_assert_uint_eq(car.hdr.csum_offset, 16);
	ck_assert_uint_eq(sum16(car.data + 14, 20), 0xffff);
	ck_assert(tcp4_would_be_right());
	ck_assert_mem_eq(car.data + 52, frame + 52, 948);
	/* The context stays for later frames; options may be none. */
	tx_data(1000, 0, 0);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.hdr.flags, 0);
	ck_assert_mem_eq(car.data, frame, 1000);
	/* With an end before the frame's, and an odd one: done here, out of the guest's buffers. */
	tx_ctx(ctx_first(14, 24, 33, 35, 50, 700), TXD_TUCMD_IP | TXD_TUCMD_TCP, 0, 0);
	tx_data(1000, 0, TXD_POPTS_TXSM);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.hdr.flags, 0);
	ck_assert_uint_eq(get16be(car.data + 50), ~sum16(frame + 35, 666) & 0xffff);
	/* Behind the private copy altogether. */
	tx_ctx(ctx_first(0, 0, 0, 255, 50, 700), 0, 0, 0);
	tx_data(1000, 0, TXD_POPTS_TXSM);
	me_tx_kick(&m);
	ck_assert_uint_eq(get16be(car.data + 50), ~sum16(frame + 255, 446) & 0xffff);
	ck_assert_uint_eq(invalid(), 0);
}
END_TEST

START_TEST(tx_tso4)
{
	size_t len = 20000;

	me_start(&m, 16, 0);
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_VME);
	for (unsigned vlan = 0; vlan < 2; vlan++) {
		unsigned shift = vlan * 4;

		fill_tcp4(len, true);
		if (vlan)
			frame[14 + 20 + 13] |= 0x80; /* CWR */
		tx_ctx(ctx_first(14, 24, 33, 34, 50, 0), TXD_CMD_TSE | TXD_TUCMD_IP | TXD_TUCMD_TCP,
		       54, 1448);
		tx_data(len, TXD_CMD_TSE | (vlan ? TXD_CMD_VLE : 0),
			TXD_POPTS_IXSM | TXD_POPTS_TXSM);
		me_tx_kick(&m);
		ck_assert_uint_eq(car.sends, vlan + 1);
		ck_assert_uint_eq(car.len, len + shift);
		ck_assert_uint_eq(car.hdr.gso_type,
				  vlan ? VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN
				       : VIRTIO_NET_HDR_GSO_TCPV4);
		ck_assert_uint_eq(car.hdr.gso_size, 1448);
		ck_assert_uint_eq(car.hdr.hdr_len, 54 + shift);
		ck_assert_uint_eq(car.hdr.csum_start, 34 + shift);
		ck_assert_uint_eq(car.hdr.csum_offset, 16);
		if (vlan) {
			memmove(car.data + 12, car.data + 16, car.len - 16);
			car.len -= 4;
			car.hdr.csum_start -= 4;
		}
		ck_assert_uint_eq(get16be(car.data + 16), len - 14);
		ck_assert_uint_eq(sum16(car.data + 14, 20), 0xffff);
		ck_assert(tcp4_would_be_right());
		ck_assert_mem_eq(car.data + 54, frame + 54, len - 54);
	}
	/* What fits one segment is none. */
	fill_tcp4(1000, true);
	tx_data(1000, TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	me_tx_kick(&m);
	ck_assert_uint_eq(car.hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	ck_assert_uint_eq(get16be(car.data + 16), 986);
	ck_assert(tcp4_would_be_right());
	ck_assert_uint_eq(me_get(&m, STAT_TSCTC), 2);
}
END_TEST

START_TEST(tx_tso6)
{
	size_t len = 65535 + 14;

	me_start(&m, 16, 0);
	mock_frame_fill(frame, len, 2, 1, 5);
	put16be(frame + 12, 0x86dd);
	put16be(frame + 14 + 4, 0);
	frame[54 + 13] = 0x10;
	put16be(frame + 54 + 16, 0xfff0);
	tx_ctx(ctx_first(14, 0, 0, 54, 70, 0), TXD_CMD_TSE | TXD_TUCMD_TCP, 74, 1428);
	gmem_write(&m.mp.mem, ME_DATA, frame, len);
	for (size_t at = 0; at < len; at += 8192) {
		size_t part = len - at < 8192 ? len - at : 8192;

		me_tx_desc(&m, ME_DATA + at,
			   part | TXD_DTYP_DATA << TXD_DTYP_SHIFT | TXD_CMD_DEXT | TXD_CMD_TSE |
				   (at + part == len ? EOP_RS : 0) |
				   (uint64_t)(at ? 0 : TXD_POPTS_TXSM) << 40);
	}
	me_tx_kick(&m);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert_uint_eq(car.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV6);
	ck_assert_uint_eq(get16be(car.data + 18), len - 54);
	ck_assert_uint_eq(get16be(car.data + 70), (0xfff0 + len - 54) % 0xffff);
	ck_assert_mem_eq(car.data + 74, frame + 74, len - 74);
}
END_TEST

START_TEST(tx_statistics)
{
	me_start(&m, 64, 0);
	for (unsigned i = 0; i < 3; i++) {
		mock_frame_fill(frame, 60, i ? 0xff : 2, 1, i);
		if (i == 1)
			memset(frame, 0xff, 6);
		if (i == 2)
			frame[0] = 1;
		me_tx(&m, frame, 60);
	}
	mock_frame_fill(frame, 1500, 2, 1, 1);
	me_tx(&m, frame, 1500);
	ck_assert_uint_eq(me_get(&m, STAT_PTC64), 3);
	ck_assert_uint_eq(me_get(&m, STAT_PTC64 + 20), 1);
	ck_assert_uint_eq(me_get(&m, STAT_GPTC), 4);
	ck_assert_uint_eq(me_get(&m, STAT_GPTC), 0);
	ck_assert_uint_eq(me_get(&m, STAT_BPTC), 1);
	ck_assert_uint_eq(me_get(&m, STAT_MPTC), 1);
	ck_assert_uint_eq(me_get(&m, STAT_GOTCL), 3 * 64 + 1504);
	ck_assert_uint_eq(me_get(&m, STAT_GOTCH), 0);
	ck_assert_uint_eq(me_get(&m, STAT_GOTCL), 0);
	ck_assert_uint_eq(me_get(&m, STAT_TOTL), 3 * 64 + 1504);
	me_set(&m, STAT_GPTC, 5);
	ck_assert_uint_eq(me_get(&m, STAT_GPTC), 0);
}
END_TEST

/* -- Transmit: broken rules -- */

static void rings_to_mend(unsigned reg, uint32_t bad, uint32_t good)
{
	unsigned sends = car.sends;
	uint64_t before = invalid();

	me_set(&m, reg, bad);
	me_set(&m, REG_TDT, 3);
	mock_e1000_run(&m);
	me_set(&m, REG_TDT, 4);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.sends, sends);
	ck_assert_uint_eq(invalid(), before + 1); /* once, however often it rings */
	/* Receive goes on. */
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), 0);
	me_set(&m, reg, good);
	me_set(&m, REG_TDT, 0);
	me_set(&m, REG_TDH, 0);
	m.tx_tail = 0;
	me_tx(&m, frame, 60);
	ck_assert_uint_eq(car.sends, sends + 1);
}

START_TEST(tx_bad_ring)
{
	me_start(&m, 64, RCTL_UPE);
	me_rx_give(&m, 32);
	mock_frame_fill(frame, 60, 2, 1, 1);
	rings_to_mend(REG_TDBAL, (uint32_t)ME_MEM - 512, ME_TX_RING);
	rings_to_mend(REG_TDBAH, 1, 0);
	rings_to_mend(REG_TDBAH, ~0u, 0);
	rings_to_mend(REG_TDLEN, 0, 64 * 16);
	rings_to_mend(REG_TDLEN, 127, 64 * 16);
	rings_to_mend(REG_TDH, 64, 0);
	rings_to_mend(REG_TDH, ~0u, 0);
	me_set(&m, REG_TDLEN, ~0u);
	ck_assert_uint_eq(me_get(&m, REG_TDLEN), RING_LEN_MASK);
	me_set(&m, REG_TDBAL, ~0u);
	ck_assert_uint_eq(me_get(&m, REG_TDBAL), 0xfffffff0);
}
END_TEST

START_TEST(tx_bad_tail)
{
	me_start(&m, 8, 0);
	me_set(&m, REG_TDT, 8);
	mock_e1000_run(&m);
	ck_assert_uint_eq(invalid(), 1);
	me_set(&m, REG_TDT, ~0u);
	mock_e1000_run(&m);
	ck_assert_uint_eq(invalid(), 1);
	ck_assert_uint_eq(car.sends, 0);
	me_set(&m, REG_CTRL, CTRL_RST);
	me_start(&m, 8, 0);
	mock_frame_fill(frame, 60, 2, 1, 1);
	me_tx(&m, frame, 60);
	ck_assert_uint_eq(car.sends, 1);
}
END_TEST

START_TEST(tx_bad_buffer)
{
	static const uint64_t bad[] = { ME_MEM, ME_MEM - 59, ~0ull, ~0ull - 59, 1ull << 63 };

	mock_frame_fill(frame, 60, 2, 1, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		me_start(&m, 8, 0);
		me_tx_desc(&m, ME_DATA, 60);
		me_tx_desc(&m, bad[i], 60 | EOP_RS);
		me_tx_kick(&m);
		ck_assert_uint_eq(invalid(), i + 1);
		ck_assert_uint_eq(car.sends, 0);
		/* Nothing was reported as done that was not. */
		ck_assert_uint_eq(me_get(&m, REG_TDH), 0);
		me_set(&m, REG_TDT, 0);
	}
	me_start(&m, 8, 0);
	me_tx(&m, frame, 60);
	ck_assert_uint_eq(car.sends, 1);
}
END_TEST

/* A frame without end goes round the ring, and must neither hold us up nor be sent. */
START_TEST(tx_endless)
{
	static const uint32_t lens[] = { 1, 0, 60000 };

	for (unsigned k = 0; k < ARRAY_SIZE(lens); k++) {
		uint64_t before = invalid();

		me_start(&m, 512, 0);
		for (unsigned round = 0; round < 4; round++) {
			for (unsigned i = 0; i < 400; i++)
				me_tx_desc(&m, ME_DATA, lens[k] | TXD_CMD_RS);
			me_tx_kick(&m);
		}
		ck_assert_uint_eq(car.sends, k);
		ck_assert_uint_eq(me_get(&m, REG_TDH), m.tx_tail);
		me_tx_desc(&m, ME_DATA, lens[k] | EOP_RS);
		me_tx_kick(&m);
		ck_assert_uint_eq(invalid(), before + 1);
		mock_frame_fill(frame, 60, 2, 1, 1);
		me_tx(&m, frame, 60);
		ck_assert_uint_eq(car.sends, k + 1);
	}
}
END_TEST

START_TEST(tx_bad_length)
{
	static const uint32_t bad[] = { 1, 13, E1000_TX_LONG + 1, 65535 };

	me_start(&m, 64, 0);
	memset(frame, 0, sizeof(frame));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		me_tx(&m, frame, bad[i]);
		ck_assert_uint_eq(invalid(), i + 1);
		ck_assert_uint_eq(me_tx_status(&m, i), TXD_STAT_DD); /* dropped, not stuck */
	}
	me_tx(&m, frame, 0); /* nothing at all is nothing */
	ck_assert_uint_eq(invalid(), 4);
	ck_assert_uint_eq(car.sends, 0);
	me_tx(&m, frame, 14);
	me_tx(&m, frame, E1000_TX_LONG);
	ck_assert_uint_eq(car.sends, 2);
	/* 20 bits of length in a data descriptor. */
	me_tx_desc(&m, 0, 0xfffff | TXD_DTYP_DATA << TXD_DTYP_SHIFT | TXD_CMD_DEXT | EOP_RS);
	me_tx_kick(&m);
	ck_assert_uint_eq(invalid(), 5);
	/* A type that there is not. */
	me_tx_desc(&m, 0, 60 | 7u << TXD_DTYP_SHIFT | TXD_CMD_DEXT | EOP_RS);
	me_tx_kick(&m);
	ck_assert_uint_eq(me_get(&m, REG_TDH), m.tx_tail);
	ck_assert_uint_eq(car.sends, 2);
}
END_TEST

static const struct {
	const char *what;
	unsigned ipcss, ipcso, ipcse, tucss, tucso, tucse, hdr_len, mss;
	uint32_t tucmd;
	unsigned popts;
	size_t len;
} bad_ctx[] = {
#define TSO4 TXD_CMD_TSE | TXD_TUCMD_IP | TXD_TUCMD_TCP
#define BOTH TXD_POPTS_IXSM | TXD_POPTS_TXSM
	{ "csum over the addresses", 0, 0, 0, 0, 16, 0, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "csum into the addresses", 0, 0, 0, 34, 6, 0, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "csum field behind the end", 0, 0, 0, 34, 99, 0, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "csum start behind the end", 0, 0, 0, 200, 200, 0, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "csum end behind the end", 0, 0, 0, 34, 50, 100, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "csum end before its start", 0, 0, 0, 34, 50, 20, 0, 0, 0, TXD_POPTS_TXSM, 100 },
	{ "IP csum end far away", 14, 24, 65535, 34, 50, 0, 0, 0, 0, TXD_POPTS_IXSM, 100 },
	{ "IP csum into the addresses", 14, 0, 33, 34, 50, 0, 0, 0, 0, TXD_POPTS_IXSM, 100 },
	{ "IP csum behind the end", 255, 255, 0, 34, 50, 0, 0, 0, 0, TXD_POPTS_IXSM, 100 },
	{ "no header", 14, 24, 33, 34, 50, 0, 0, 1448, TSO4, BOTH, 3000 },
	{ "header too short", 14, 24, 33, 34, 50, 0, 53, 1448, TSO4, BOTH, 3000 },
	{ "header longer than the frame", 14, 24, 33, 34, 50, 0, 255, 1448, TSO4, BOTH, 100 },
	{ "no segment size", 14, 24, 33, 34, 50, 0, 54, 0, TSO4, BOTH, 3000 },
	{ "no checksum", 14, 24, 33, 34, 50, 0, 54, 1448, TSO4, TXD_POPTS_IXSM, 3000 },
	{ "UDP", 14, 24, 33, 34, 40, 0, 42, 1448, TXD_CMD_TSE | TXD_TUCMD_IP, BOTH, 3000 },
	{ "IP in the Ethernet header", 0, 10, 19, 34, 50, 0, 54, 1448, TSO4, BOTH, 3000 },
	{ "IP behind TCP", 60, 70, 79, 34, 50, 0, 54, 1448, TSO4, BOTH, 3000 },
	{ "IPv6 too short", 14, 0, 0, 53, 69, 0, 73, 1428, TXD_CMD_TSE | TXD_TUCMD_TCP,
	  TXD_POPTS_TXSM, 3000 },
	{ "csum field not TCP's", 14, 24, 33, 34, 40, 0, 54, 1448, TSO4, BOTH, 3000 },
	{ "everything far out", 255, 255, 65535, 255, 255, 65535, 255, 65535, TSO4, BOTH, 260 },
};

START_TEST(tx_bad_context)
{
	unsigned i = (unsigned)_i;

	me_start(&m, 8, 0);
	mock_frame_fill(frame, bad_ctx[i].len, 2, 1, 1);
	tx_ctx(ctx_first(bad_ctx[i].ipcss, bad_ctx[i].ipcso, bad_ctx[i].ipcse, bad_ctx[i].tucss,
			 bad_ctx[i].tucso, bad_ctx[i].tucse),
	       bad_ctx[i].tucmd, bad_ctx[i].hdr_len, bad_ctx[i].mss);
	tx_data(bad_ctx[i].len, bad_ctx[i].tucmd & TXD_CMD_TSE, bad_ctx[i].popts);
	me_tx_kick(&m);
	ck_assert_msg(!car.sends, "sent: %s", bad_ctx[i].what);
	ck_assert_uint_eq(invalid(), 1);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 2);
	ck_assert_uint_eq(me_tx_status(&m, 1), TXD_STAT_DD);
	me_tx(&m, frame, 60);
	ck_assert_uint_eq(car.sends, 1);
}
END_TEST

/* -- Receive -- */

/* The frame that begins in descriptor rx_next: its length, EOP included; checks DD. */
static size_t receive(uint8_t *status, uint16_t *special)
{
	size_t len = 0;

	for (;;) {
		uint64_t second = me_rx_second(&m, m.rx_next);
		size_t n = second & 0xffff;

		*status = (uint8_t)(second >> 32);
		*special = (uint16_t)(second >> 48);
		ck_assert(*status & RXD_STAT_DD);
		if (n)
			gmem_read(&m.mp.mem, ME_BUFS + (m.rx_next % 256) * (gpa_t)ME_BUF_STEP,
				  out + len, n);
		len += n;
		m.rx_next = (m.rx_next + 1) % m.nr;
		if (*status & RXD_STAT_EOP)
			return len;
	}
}

START_TEST(rx_handshake)
{
	uint8_t status;
	uint16_t special;

	me_start(&m, 8, 0);
	me_set(&m, REG_IMS, ICR_RXT0);
	me_rx_give(&m, 7);
	for (unsigned i = 0; i < 20; i++) {
		size_t len = 60 + 70 * i;

		mock_frame_fill(frame, len, 1, 2, i);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, len), 0);
		ck_assert_uint_eq(me_get(&m, REG_RDH), (i + 1) % 8);
		ck_assert(mock_line_level(&m.mp, ME_GSI));
		ck_assert(me_get(&m, REG_ICR) & ICR_RXT0);
		ck_assert_uint_eq(receive(&status, &special), len + 4);
		ck_assert_uint_eq(status, RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IXSM);
		ck_assert_uint_eq(special, 0);
		ck_assert_mem_eq(out, frame, len);
		me_rx_give(&m, 1);
	}
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_frames), 20);
	ck_assert_uint_eq(me_get(&m, STAT_GPRC), 20);
	ck_assert_uint_eq(atomic_load(&m.port->rx_features), 0);
	ck_assert_uint_eq(car.features, 0);
}
END_TEST

START_TEST(rx_batch)
{
	me_start(&m, 8, 0);
	me_set(&m, REG_IMS, ICR_RXT0);
	me_rx_give(&m, 7);
	mock_frame_fill(frame, 60, 1, 2, 1);
	ck_assert(m.port->ops->rx_begin(m.port));
	for (unsigned i = 0; i < 5; i++) {
		struct iovec iov[4];
		unsigned cnt = 4;

		ck_assert_int_ge(m.port->ops->rx_reserve(m.port, 60, iov, &cnt), 60);
		memcpy(iov[0].iov_base, frame, 60);
		if (i == 3)
			m.port->ops->rx_abort(m.port);
		else
			m.port->ops->rx_commit(m.port, &plain, 60);
	}
	m.port->ops->rx_end(m.port);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 4);
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 1);
}
END_TEST

START_TEST(rx_short_and_crc)
{
	uint8_t status;
	uint16_t special;

	me_start(&m, 8, 0);
	me_rx_give(&m, 7);
	gmem_zero(&m.mp.mem, ME_BUFS, 2048);
	memset(gmem_ptr(&m.mp.mem, ME_BUFS, 2048), 0xee, 2048);
	mock_frame_fill(frame, 20, 1, 2, 1);
	memset(frame + 20, 0, 44);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 20), 0);
	ck_assert_uint_eq(receive(&status, &special), 64);
	ck_assert_mem_eq(out, frame, 64);
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_SECRC);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 61), 0);
	ck_assert_uint_eq(receive(&status, &special), 61);
	/* No frame at all. */
	mock_deliver(m.port, &plain, frame, 13);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 2);
}
END_TEST

/* Every size of buffer; frames that end just before, at and behind a buffer's end. */
START_TEST(rx_many_buffers)
{
	static const struct {
		uint32_t rctl;
		size_t bytes;
	} size[] = {
		{ 0, 2048 },
		{ 1u << 16, 1024 },
		{ 2u << 16, 512 },
		{ 3u << 16, 256 },
		{ RCTL_BSEX | 1u << 16, 16384 },
		{ RCTL_BSEX | 2u << 16, 8192 },
		{ RCTL_BSEX | 3u << 16, 4096 },
	};
	uint8_t status;
	uint16_t special;

	for (unsigned k = 0; k < ARRAY_SIZE(size); k++) {
		me_start(&m, 128, size[k].rctl | RCTL_LPE);
		me_rx_give(&m, 127);
		for (unsigned i = 0; i < 12; i++) {
			size_t len = size[k].bytes * (1 + i / 6) - 6 + i % 6;
			uint32_t first = m.rx_next;

			if (len > E1000_FRAME_LONG)
				continue;
			mock_frame_fill(frame, len, 1, 2, i);
			ck_assert_int_eq(mock_deliver(m.port, &plain, frame, len), 0);
			ck_assert_uint_eq(receive(&status, &special), len + 4);
			ck_assert_mem_eq(out, frame, len);
			ck_assert_uint_eq((m.rx_next - first) % m.nr,
					  (len + 4 + size[k].bytes - 1) / size[k].bytes);
			ck_assert_uint_eq(me_get(&m, REG_RDH), m.rx_next);
			me_rx_give(&m, (m.rx_next - first) % m.nr);
		}
	}
}
END_TEST

START_TEST(rx_too_long)
{
	uint8_t status;
	uint16_t special;

	for (unsigned lpe = 0; lpe < 2; lpe++) {
		size_t limit = lpe ? E1000_FRAME_LONG : E1000_FRAME_MAX;
		uint64_t dropped = atomic_load(&m.port->stats.rx_dropped);

		me_start(&m, 128, lpe ? RCTL_LPE : 0);
		me_rx_give(&m, 100);
		mock_frame_fill(frame, FRAME_MAX_BYTES, 1, 2, 1);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, limit), 0);
		ck_assert_uint_eq(receive(&status, &special), limit + 4);
		/* The sender is not told, and not held back. */
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, limit + 1), 0);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, FRAME_MAX_BYTES), 0);
		ck_assert_uint_eq(me_get(&m, REG_RDH), m.rx_next);
		ck_assert_uint_eq(atomic_load(&m.port->stats.rx_dropped), dropped + 2);
		ck_assert_uint_eq(me_get(&m, STAT_ROC), 2);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
		ck_assert_uint_eq(receive(&status, &special), 104);
	}
}
END_TEST

START_TEST(rx_filter)
{
	static const struct {
		const char *what;
		uint8_t dst[6];
		uint32_t rctl;
		bool want;
	} c[] = {
		{ "own", { 0x52, 0x54, 0, 0, 0, 1 }, 0, true },
		{ "other's", { 0x52, 0x54, 0, 0, 0, 2 }, 0, false },
		{ "other's, promiscuous", { 0x52, 0x54, 0, 0, 0, 2 }, RCTL_UPE, true },
		{ "second address", { 0x02, 1, 2, 3, 4, 5 }, 0, true },
		{ "one that is not valid", { 0x02, 1, 2, 3, 4, 6 }, 0, false },
		{ "broadcast, not wanted", { 255, 255, 255, 255, 255, 255 }, 0, false },
		{ "broadcast", { 255, 255, 255, 255, 255, 255 }, RCTL_BAM, true },
		{ "multicast", { 1, 0, 0x5e, 0, 0, 1 }, 0, false },
		{ "multicast, all", { 1, 0, 0x5e, 0, 0, 1 }, RCTL_MPE, true },
		{ "multicast in the table", { 1, 0, 0x5e, 0, 0xab, 0xcd }, 0, true },
		{ "the same, other bits", { 1, 0, 0x5e, 0, 0xab, 0xcd }, 1u << 12, false },
		{ "other bits", { 1, 0, 0x5e, 0, 0xcd, 0xab }, 3u << 12, true },
	};

	me_start(&m, 64, 0);
	me_rx_give(&m, 63);
	me_set(&m, REG_RA + 8, 0x03020102);
	me_set(&m, REG_RA + 12, RAH_AV | 0x0504);
	me_set(&m, REG_RA + 16, 0x03020102);
	me_set(&m, REG_RA + 20, 0x0604);
	/* ab:cd: bits 47:36 of the address are 0xcda; ab of cd:ab are, by 43:32, 0xbcd. */
	me_set(&m, REG_MTA + 4 * (0xcda >> 5), 1u << (0xcda & 31));
	me_set(&m, REG_MTA + 4 * (0xbcd >> 5), 1u << (0xbcd & 31));
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		uint32_t before = me_get(&m, REG_RDH);

		me_set(&m, REG_RCTL, RCTL_EN | c[i].rctl);
		mock_frame_fill(frame, 60, 1, 2, i);
		memcpy(frame, c[i].dst, 6);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), 0);
		ck_assert_msg((me_get(&m, REG_RDH) != before) == c[i].want, "%s", c[i].what);
	}
	ck_assert(me_rx_second(&m, 5) >> 32 & RXD_STAT_PIF);
}
END_TEST

START_TEST(rx_vlan)
{
	uint8_t status;
	uint16_t special;

	me_start(&m, 64, 3u << 16);
	me_rx_give(&m, 63);
	mock_frame_fill(frame, 1004, 1, 2, 9);
	put16be(frame + 12, 0x8100);
	put16be(frame + 14, 0x6065);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 1004), 0);
	ck_assert_uint_eq(receive(&status, &special), 1008);
	ck_assert(!(status & RXD_STAT_VP));
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_VME);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 1004), 0);
	ck_assert_uint_eq(receive(&status, &special), 1004);
	ck_assert(status & RXD_STAT_VP);
	ck_assert_uint_eq(special, 0x6065);
	ck_assert_mem_eq(out, frame, 12);
	ck_assert_mem_eq(out + 12, frame + 16, 988);
	/* Its filter. */
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_VFE | 3u << 16);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 1004), 0);
	ck_assert_uint_eq(me_get(&m, REG_RDH), m.rx_next);
	me_set(&m, REG_VFTA + 4 * (0x065 >> 5), 1u << (0x065 & 31));
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), 0);
	ck_assert_uint_eq(receive(&status, &special), 64);
	/* Too short to hold a tag. */
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 14), 0);
	ck_assert_uint_eq(receive(&status, &special), 64);
	ck_assert(!(status & RXD_STAT_VP));
}
END_TEST

START_TEST(rx_checksum_bits)
{
	struct virtio_net_hdr_v1 valid = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	uint8_t status;
	uint16_t special;

	me_start(&m, 8, 0);
	me_rx_give(&m, 7);
	mock_frame_fill(frame, 60, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(m.port, &valid, frame, 60), 0);
	receive(&status, &special);
	ck_assert_uint_eq(status & (RXD_STAT_IXSM | RXD_STAT_TCPCS), RXD_STAT_IXSM);
	me_set(&m, REG_RXCSUM, RXCSUM_TUOFL);
	ck_assert_int_eq(mock_deliver(m.port, &valid, frame, 60), 0);
	receive(&status, &special);
	ck_assert_uint_eq(status & (RXD_STAT_IXSM | RXD_STAT_TCPCS), RXD_STAT_TCPCS);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), 0);
	receive(&status, &special);
	ck_assert_uint_eq(status & (RXD_STAT_IXSM | RXD_STAT_TCPCS), RXD_STAT_IXSM);
}
END_TEST

START_TEST(rx_shortage)
{
	unsigned readies;

	me_start(&m, 16, RCTL_LPE); /* threshold: half of the ring */
	me_set(&m, REG_IMS, ICR_RXO | ICR_RXDMT0);
	mock_frame_fill(frame, 3000, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), -ENOBUFS);
	ck_assert_uint_eq(me_get(&m, REG_ICR) & (ICR_RXO | ICR_RXT0), ICR_RXO);
	readies = car.rx_readies;
	me_rx_give(&m, 1);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.rx_readies, readies + 1);
	/* One is not enough for this. */
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 3000), -ENOBUFS);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
	me_rx_give(&m, 9);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.rx_readies, readies + 2);
	/* While nobody waits nobody is woken. */
	me_rx_give(&m, 1);
	mock_e1000_run(&m);
	ck_assert_uint_eq(car.rx_readies, readies + 2);
	me_get(&m, REG_ICR);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 60), 0);
		ck_assert_uint_eq(me_get(&m, REG_ICR) & ICR_RXDMT0, i == 2 ? ICR_RXDMT0 : 0);
	}
	atomic_fetch_add(&m.port->stats.rx_dropped, 3);
	ck_assert_uint_eq(me_get(&m, STAT_MPC), 3);
	ck_assert_uint_eq(me_get(&m, STAT_MPC), 0);
}
END_TEST

START_TEST(rx_null_descriptors)
{
	static const uint64_t none[2];
	uint8_t status;
	uint16_t special;

	me_start(&m, 256, 0);
	me_rx_give(&m, 200);
	gmem_write(&m.mp.mem, ME_RX_RING, none, 16);
	mock_frame_fill(frame, 100, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
	ck_assert_uint_eq(me_rx_second(&m, 0), (uint64_t)(RXD_STAT_DD | RXD_STAT_IXSM) << 32);
	m.rx_next = 1;
	ck_assert_uint_eq(receive(&status, &special), 104);
	/* More of them than any frame needs. */
	gmem_zero(&m.mp.mem, ME_RX_RING, 256 * 16);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -EPROTO);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -ENOTCONN);
}
END_TEST

static const struct {
	unsigned reg;
	uint32_t bad, good;
} bad_rx[] = {
	{ REG_RDBAL, (uint32_t)ME_MEM - 64, ME_RX_RING },
	{ REG_RDBAH, 1, 0 },
	{ REG_RDLEN, 0, 256 },
	{ REG_RDH, 16, 0 },
	{ REG_RDT, 16, 8 },
	{ REG_RDT, 0xffff, 8 },
};

START_TEST(rx_bad_ring)
{
	me_start(&m, 16, 0);
	me_rx_give(&m, 8);
	mock_frame_fill(frame, 100, 1, 2, 1);
	me_set(&m, bad_rx[_i].reg, bad_rx[_i].bad);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -EPROTO);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -ENOTCONN);
	/* Transmit goes on. */
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(car.sends, 1);
	me_set(&m, bad_rx[_i].reg, bad_rx[_i].good);
	me_set(&m, REG_RCTL, RCTL_EN);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
}
END_TEST

START_TEST(rx_bad_buffer)
{
	static const uint64_t bad[] = { ME_MEM, ME_MEM - 2047, ~0ull, ~0ull - 2047, 1ull << 63 };

	mock_frame_fill(frame, 100, 1, 2, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		me_start(&m, 16, 0);
		me_rx_give(&m, 8);
		gmem_write(&m.mp.mem, ME_RX_RING, &bad[i], 8);
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -EPROTO);
		ck_assert_uint_eq(me_rx_second(&m, 0), 0);
		me_set(&m, REG_CTRL, CTRL_RST);
	}
	me_start(&m, 16, 0);
	me_rx_give(&m, 8);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
}
END_TEST

/* -- Threads: several senders, a driver that gives buffers, resets and reads registers -- */

#define RACE_FRAMES 3000

static _Atomic bool race_over;

static void *race_sender(void *arg)
{
	uint8_t f[600];

	mock_frame_fill(f, sizeof(f), 1, (uint8_t)(uintptr_t)arg, 1);
	for (unsigned i = 0; i < RACE_FRAMES; i++)
		mock_deliver(m.port, &plain, f, 60 + i % 500);
	return NULL;
}

static void *race_driver(void *arg)
{
	unsigned tail = 0;

	for (unsigned i = 0; i < 3000 || !atomic_load(&race_over); i++) {
		tail = (tail + 1) % 64;
		me_set(&m, REG_RDT, tail);
		me_get(&m, REG_ICR);
		me_set(&m, REG_IMS, ICR_RXT0);
		me_get(&m, REG_RDH);
		me_get(&m, STAT_GPRC);
		me_set(&m, REG_TDT, tail);
		if (i % 200 == 199)
			me_set(&m, REG_RCTL, RCTL_EN | (i % 3 ? 0 : RCTL_LPE));
		if (i % 500 == 499) {
			me_set(&m, REG_CTRL, CTRL_RST | CTRL_SLU);
			me_set(&m, REG_RDBAL, ME_RX_RING);
			me_set(&m, REG_RDLEN, 64 * 16);
			me_set(&m, REG_TDBAL, ME_TX_RING);
			me_set(&m, REG_TDLEN, 64 * 16);
			me_set(&m, REG_TCTL, TCTL_EN);
			me_set(&m, REG_RCTL, RCTL_EN);
		}
	}
	return NULL;
}

START_TEST(race)
{
	pthread_t t[3];

	me_start(&m, 64, 0);
	me_rx_give(&m, 63);
	me_rx_give(&m, 64);
	mock_frame_fill(frame, 60, 2, 1, 1);
	gmem_write(&m.mp.mem, ME_DATA, frame, 60);
	for (unsigned i = 0; i < 64; i++)
		me_tx_desc(&m, ME_DATA, 60 | TXD_CMD_EOP | TXD_CMD_RS);
	ck_assert_int_eq(loop_start(&m.loop), 0);
	ck_assert_int_eq(pthread_create(&t[0], NULL, race_sender, (void *)2), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, race_sender, (void *)3), 0);
	ck_assert_int_eq(pthread_create(&t[2], NULL, race_driver, NULL), 0);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	atomic_store(&race_over, true);
	pthread_join(t[2], NULL);
	loop_stop(&m.loop);
	ck_assert_uint_gt(car.sends, 0);
	ck_assert_uint_gt(atomic_load(&m.port->stats.rx_frames), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e1000");
	TCase *regs = tcase_create("registers"), *tx = tcase_create("transmit"),
	      *rx = tcase_create("receive"), *threads = tcase_create("threads");
	TCase *all[] = { regs, tx, rx, threads };
	SRunner *sr;
	int failed;

	log_set_level(LOG_ERROR);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		tcase_add_checked_fixture(all[i], setup, teardown);
		tcase_set_timeout(all[i], 60);
		suite_add_tcase(s, all[i]);
	}
	tcase_add_test(regs, pci_function);
	tcase_add_test(regs, reset);
	tcase_add_test(regs, ports_reach_registers);
	tcase_add_test(regs, access_sizes);
	tcase_add_test(regs, eeprom_words);
	tcase_add_test(regs, eeprom_pins);
	tcase_add_test(regs, phy);
	tcase_add_test(regs, link_state);
	tcase_add_test(regs, interrupt);
	tcase_add_test(regs, carrier_follows_enable_bits);
	tcase_add_test(tx, tx_handshake);
	tcase_add_test(tx, tx_needs_no_report);
	tcase_add_test(tx, tx_off);
	tcase_add_test(tx, tx_pieces);
	tcase_add_test(tx, tx_held_back);
	tcase_add_test(tx, tx_many);
	tcase_add_test(tx, tx_vlan);
	tcase_add_test(tx, tx_csum_legacy);
	tcase_add_test(tx, tx_csum_extended);
	tcase_add_test(tx, tx_tso4);
	tcase_add_test(tx, tx_tso6);
	tcase_add_test(tx, tx_statistics);
	tcase_add_test(tx, tx_bad_ring);
	tcase_add_test(tx, tx_bad_tail);
	tcase_add_test(tx, tx_bad_buffer);
	tcase_add_test(tx, tx_endless);
	tcase_add_test(tx, tx_bad_length);
	tcase_add_loop_test(tx, tx_bad_context, 0, ARRAY_SIZE(bad_ctx));
	tcase_add_test(rx, rx_handshake);
	tcase_add_test(rx, rx_batch);
	tcase_add_test(rx, rx_short_and_crc);
	tcase_add_test(rx, rx_many_buffers);
	tcase_add_test(rx, rx_too_long);
	tcase_add_test(rx, rx_filter);
	tcase_add_test(rx, rx_vlan);
	tcase_add_test(rx, rx_checksum_bits);
	tcase_add_test(rx, rx_shortage);
	tcase_add_test(rx, rx_null_descriptors);
	tcase_add_loop_test(rx, rx_bad_ring, 0, ARRAY_SIZE(bad_rx));
	tcase_add_test(rx, rx_bad_buffer);
	tcase_add_test(threads, race);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
