/*
 * Real-time clock and CMOS memory. Source: Motorola MC146818A data sheet; century in byte 0x32, as
 * the FADT says.
 *
 * Registers are accessed on vCPU threads, the timer runs on the loop; one lock guards them.
 */
#ifndef ARCH_X86_CMOS_H
#define ARCH_X86_CMOS_H

#include <pthread.h>
#include <time.h>

#include "base/bus.h"
#include "base/loop.h"
#include "base/platform.h"

#define CMOS_BYTES 128

struct cmos {
	struct platform *plat;
	struct loop *loop;
	pthread_mutex_t lock;
	uint8_t index;
	uint8_t ram[CMOS_BYTES]; /* alarm, status B and C, and what the guest keeps in the rest */
	int64_t offset_s;	 /* the guest's clock minus the host's */
	struct tm set;		 /* what the guest is setting while status B has SET */
	struct bus_region region;
	struct loop_timer tick; /* at each full second while an interrupt of it is enabled */
	struct loop_work rearm;
};

int cmos_init(struct cmos *c, struct platform *plat, struct loop *loop);
void cmos_fini(struct cmos *c);

#endif
