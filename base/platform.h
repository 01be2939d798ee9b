/*
 * What a device may ask of the machine that it sits in: guest memory, buses, interrupts, doorbells.
 * vmm/ implements it on KVM; unit tests implement it with a few arrays. Devices see nothing of KVM.
 *
 * Interrupts and doorbells are file descriptors wherever possible, so that neither costs an exit to
 * user space: the kernel reads an interrupt eventfd (irqfd) and writes a doorbell eventfd
 * (ioeventfd).
 *
 * Every function may be called from any thread.
 */
#ifndef BASE_PLATFORM_H
#define BASE_PLATFORM_H

#include "base/bus.h"
#include "base/gmem.h"
#include "base/types.h"

struct platform;

/* One message-signalled interrupt: writing 1 to `efd` delivers (address, data) to the guest. */
struct msi_route {
	int efd;	  /* owned by the device; set before msi_set() */
	uint64_t address; /* as the guest programmed them; the guest can write any value */
	uint32_t data;
	uint32_t devid; /* requester id (PCI: bus, device, function); ITS needs it */
	int gsi;	/* private to the implementation; -1 while not routed */
};

struct platform_ops {
	/* Level of a wired interrupt line as one source drives it. Callers that share a line
	 * combine their levels before (base/pci.h does). */
	int (*line_set)(struct platform *p, unsigned gsi, bool level);
	/* Edge-triggered line driven by an eventfd (irqfd). on = false undoes it. */
	int (*line_irqfd)(struct platform *p, unsigned gsi, int efd, bool on);

	/* Routes r->efd to (address, data), or changes the route. Errors: -ENOSPC, errno of KVM. */
	int (*msi_set)(struct platform *p, struct msi_route *r);
	void (*msi_clear)(struct platform *p, struct msi_route *r);

	/* A guest write of any value to [gpa, gpa + len) makes efd readable and costs no exit to
	 * user space; len 0 matches every width. Errors: errno of KVM. */
	int (*doorbell_add)(struct platform *p, gpa_t gpa, unsigned len, int efd);
	void (*doorbell_del)(struct platform *p, gpa_t gpa, unsigned len, int efd);
};

struct platform {
	const struct platform_ops *ops;
	const char *name; /* of the guest, for log lines */
	struct gmem *mem;
	struct bus *mmio;
	struct bus *pio; /* NULL where the architecture has no port I/O */
};

#endif
