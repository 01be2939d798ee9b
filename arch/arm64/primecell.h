/*
 * What Arm's PrimeCell peripherals have in common: the identification registers in the last 32
 * bytes of their page, by which Linux finds the driver. Pure.
 */
#ifndef ARCH_ARM64_PRIMECELL_H
#define ARCH_ARM64_PRIMECELL_H

#include "base/types.h"

#define PRIMECELL_ID 0xfe0 /* the first of eight registers */

/* Reads the register at `offset` >= PRIMECELL_ID of part number `part` (0x031 for a PL031). */
static inline uint32_t primecell_id(unsigned part, uint64_t offset)
{
	static const uint8_t cell_id[] = { 0x0d, 0xf0, 0x05, 0xb1 };
	unsigned i = (unsigned)(offset - PRIMECELL_ID) / 4;

	switch (i) {
	case 0:
		return part & 0xff;
	case 1:
		return 0x10 | part >> 8; /* designer 0x41, Arm: low half */
	case 2:
		return 0x04; /* revision 0; high half */
	case 3:
		return 0;
	default:
		return cell_id[i & 3];
	}
}

#endif
