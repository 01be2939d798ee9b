/*
 * 82540EM: the transceiver (a Marvell 88E1011) behind MDIC, as far as drivers look at it: identity,
 * auto-negotiation that is complete at once, and a partner that can do 1000 Mbit/s full duplex.
 *
 * The loop's; no lock.
 */
#include <string.h>

#include "nic/e1000_internal.h"

#define STATUS_LINK 0x0004

/* Register values after a reset, with a link. */
static const uint16_t phy_default[PHY_NR_REGS] = {
	[PHY_CTRL] = 0x1140,	     /* auto-negotiation, full duplex, 1000 */
	[PHY_STATUS] = 0x7969,	     /* 10, 100, extended; negotiated. The link bit is added */
	[PHY_ID1] = 0x0141,	     /* Marvell */
	[PHY_ID2] = 0x0c20,	     /* 88E1011 */
	[PHY_AUTONEG_ADV] = 0x0de1,  /* 10, 100, pause */
	[PHY_LP_ABILITY] = 0xcde1,   /* the same, acknowledged */
	[PHY_AUTONEG_EXP] = 0x000f,  /* the partner negotiates; pages were received */
	[PHY_1000T_CTRL] = 0x0e00,   /* advertises 1000 full duplex */
	[PHY_1000T_STATUS] = 0x7c00, /* so does the partner; receivers are in order */
	[PHY_EXT_STATUS] = 0x3000,   /* 1000BASE-T */
	[PHY_SPEC_CTRL] = 0x0360,    /* automatic crossover */
	[PHY_SPEC_STATUS] = 0xac00,  /* 1000, full duplex, resolved, link */
	[PHY_EXT_SPEC_CTRL] = 0x0d60,
};

static bool writable(unsigned reg)
{
	return reg != PHY_STATUS && reg != PHY_ID1 && reg != PHY_ID2 && reg != PHY_LP_ABILITY &&
	       reg != PHY_AUTONEG_EXP && reg != PHY_1000T_STATUS && reg != PHY_EXT_STATUS &&
	       reg != PHY_SPEC_STATUS;
}

void e1000_phy_reset(struct e1000 *e)
{
	memcpy(e->phy, phy_default, sizeof(e->phy));
}

static uint16_t phy_read(const struct e1000 *e, unsigned reg)
{
	bool link = atomic_load(&e->link);

	if (reg == PHY_STATUS)
		return (uint16_t)(e->phy[reg] | (link ? STATUS_LINK : 0));
	if (reg == PHY_SPEC_STATUS || reg == PHY_1000T_STATUS || reg == PHY_LP_ABILITY)
		return link ? e->phy[reg] : 0;
	return e->phy[reg];
}

static void phy_write(struct e1000 *e, unsigned reg, uint16_t v)
{
	if (!writable(reg))
		return;
	if (reg != PHY_CTRL) {
		e->phy[reg] = v;
		return;
	}
	if (v & PHY_CTRL_RESET)
		e1000_phy_reset(e);
	else
		e->phy[PHY_CTRL] = (uint16_t)(v & ~PHY_CTRL_RESTART);
	e1000_link_check(e);
	/* The link was taken down and came up again. */
	if (v & (PHY_CTRL_RESET | PHY_CTRL_RESTART))
		e1000_raise(e, ICR_LSC);
}

void e1000_mdic_write(struct e1000 *e, uint32_t v)
{
	unsigned reg = v >> MDIC_REG_SHIFT & (PHY_NR_REGS - 1);
	unsigned phy = v >> MDIC_PHY_SHIFT & 31;
	uint32_t answer = v & ~(MDIC_READY | MDIC_ERROR);

	if (phy != PHY_ADDRESS)
		answer |= MDIC_ERROR;
	else if (v & MDIC_OP_READ)
		answer = (answer & 0xffff0000) | phy_read(e, reg);
	else if (v & MDIC_OP_WRITE)
		phy_write(e, reg, (uint16_t)v);
	e1000_set(e, REG_MDIC, answer | MDIC_READY);
	if (v & MDIC_INT_EN)
		e1000_raise(e, ICR_MDAC);
}
