/*
 * MSI-X: vector table, masks and pending bits of one function. Source: PCI Local Bus Specification
 * 3.0, section 6.8.2.
 *
 * Threads: table accesses and control writes come from vCPU threads, signals from whichever thread
 * serves the device. fn->msix_lock guards vectors and the message control word. It is held while
 * the platform changes a route, so that two changes of one vector reach it in order.
 *
 * A vector's route lives from its first use until MSI-X is switched off: masking only holds
 * signals back here, and what a driver changes while masked is looked at when it unmasks.
 */
#include "base/pci_internal.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENTRY_BYTES PCI_MSIX_ENTRY_SIZE
#define MASKED	    PCI_MSIX_ENTRY_CTRL_MASKBIT

static uint16_t control_get(const struct pci_fn *fn)
{
	const uint8_t *p = &fn->cfg[fn->msix_cap + PCI_MSIX_FLAGS];

	return (uint16_t)(p[0] | p[1] << 8);
}

static bool enabled(const struct pci_fn *fn)
{
	return fn->nr_msix && control_get(fn) & PCI_MSIX_FLAGS_ENABLE;
}

static bool masked(const struct pci_fn *fn, const struct pci_msix_vector *v)
{
	return v->control & MASKED || control_get(fn) & PCI_MSIX_FLAGS_MASKALL;
}

static void deliver(const struct pci_msix_vector *v)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so an interrupt is on its way anyway. */
	while (write(v->route.efd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Makes the platform's route follow the table entry. */
static void route_update(struct pci_fn *fn, struct pci_msix_vector *v)
{
	uint64_t address = (uint64_t)v->addr_hi << 32 | v->addr_lo;
	int rc;

	if (v->routed && v->route.address == address && v->route.data == v->data)
		return;
	v->route.address = address;
	v->route.data = v->data;
	v->route.devid = fn->devfn;
	rc = fn->plat->ops->msi_set(fn->plat, &v->route);
	if (rc && v->routed)
		/* The old route must not outlive the guest's wish for another. */
		fn->plat->ops->msi_clear(fn->plat, &v->route);
	v->routed = rc == 0;
	if (rc && fn->host)
		log_limited(&fn->host->log, LOG_WARN, fn->name,
			    "cannot route MSI-X vector %u to 0x%llx: %s", (unsigned)(v - fn->msix),
			    (unsigned long long)address, strerror(-rc));
}

/* After any change of masks, table or control word. */
static void vector_update(struct pci_fn *fn, struct pci_msix_vector *v)
{
	if (!enabled(fn) || masked(fn, v))
		return;
	route_update(fn, v);
	if (v->pending && v->routed) {
		v->pending = false;
		deliver(v);
	}
}

static void routes_clear(struct pci_fn *fn)
{
	for (unsigned i = 0; i < fn->nr_msix; i++) {
		struct pci_msix_vector *v = &fn->msix[i];

		if (v->routed)
			fn->plat->ops->msi_clear(fn->plat, &v->route);
		v->routed = false;
		v->pending = false;
	}
}

void pci_msix_control_write(struct pci_fn *fn, uint16_t control)
{
	pthread_mutex_lock(&fn->msix_lock);
	fn->cfg[fn->msix_cap + PCI_MSIX_FLAGS] = (uint8_t)control;
	fn->cfg[fn->msix_cap + PCI_MSIX_FLAGS + 1] = (uint8_t)(control >> 8);
	if (!enabled(fn))
		routes_clear(fn);
	for (unsigned i = 0; i < fn->nr_msix; i++)
		vector_update(fn, &fn->msix[i]);
	pthread_mutex_unlock(&fn->msix_lock);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

int pci_msix_init(struct pci_fn *fn, unsigned nr, unsigned bar, unsigned table_offset,
		  unsigned pba_offset)
{
	int cap, rc;

	if (!nr || nr > PCI_MAX_MSIX)
		return -ENOSPC;
	for (unsigned i = 0; i < nr; i++) {
		struct pci_msix_vector *v = &fn->msix[i];

		memset(v, 0, sizeof(*v));
		v->control = MASKED;
		v->route.gsi = -1;
		v->route.efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->route.efd < 0) {
			rc = -errno;
			goto out;
		}
		fn->nr_msix = i + 1;
	}
	cap = pci_add_cap(fn, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (cap < 0) {
		rc = cap;
		goto out;
	}
	fn->msix_cap = (unsigned)cap;
	fn->msix_bar = bar;
	fn->msix_table_offset = table_offset;
	fn->msix_pba_offset = pba_offset;
	fn->cfg[cap + PCI_MSIX_FLAGS] = (uint8_t)(nr - 1);
	put32(&fn->cfg[cap + PCI_MSIX_TABLE], table_offset | bar);
	put32(&fn->cfg[cap + PCI_MSIX_PBA], pba_offset | bar);
	fn->wmask[cap + PCI_MSIX_FLAGS + 1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	return 0;
out:
	pci_msix_fini(fn);
	return rc;
}

void pci_msix_fini(struct pci_fn *fn)
{
	pthread_mutex_lock(&fn->msix_lock);
	routes_clear(fn);
	for (unsigned i = 0; i < fn->nr_msix; i++)
		close(fn->msix[i].route.efd);
	fn->nr_msix = 0;
	pthread_mutex_unlock(&fn->msix_lock);
}

static bool in_table(const struct pci_fn *fn, uint64_t offset)
{
	return offset >= fn->msix_table_offset &&
	       offset - fn->msix_table_offset < (uint64_t)fn->nr_msix * ENTRY_BYTES;
}

static bool in_pba(const struct pci_fn *fn, uint64_t offset)
{
	return offset >= fn->msix_pba_offset &&
	       offset - fn->msix_pba_offset < ALIGN_UP(fn->nr_msix, 64) / 8;
}

bool pci_msix_bar_covers(const struct pci_fn *fn, unsigned bar, uint64_t offset)
{
	return fn->nr_msix && bar == fn->msix_bar && (in_table(fn, offset) || in_pba(fn, offset));
}

/* 6.8.2: software uses aligned dwords or quadwords, anything else is undefined. Both structures
 * are a multiple of 8 long, so an aligned access that starts inside also ends inside. */
static bool access_ok(uint64_t offset, unsigned size)
{
	return (size == 4 || size == 8) && offset % size == 0;
}

static uint32_t *entry_word(struct pci_msix_vector *v, unsigned word)
{
	switch (word) {
	case 0:
		return &v->addr_lo;
	case 1:
		return &v->addr_hi;
	case 2:
		return &v->data;
	default:
		return &v->control;
	}
}

/* One dword of the table or the PBA; offset lies in one of them. */
static uint32_t word_read(struct pci_fn *fn, uint64_t offset)
{
	uint32_t bits = 0;

	if (in_table(fn, offset)) {
		uint64_t at = offset - fn->msix_table_offset;

		return *entry_word(&fn->msix[at / ENTRY_BYTES], at % ENTRY_BYTES / 4);
	}
	for (unsigned i = 0; i < 32; i++) {
		uint64_t vec = (offset - fn->msix_pba_offset) * 8 + i;

		if (vec < fn->nr_msix && fn->msix[vec].pending)
			bits |= 1u << i;
	}
	return bits;
}

uint64_t pci_msix_bar_read(struct pci_fn *fn, uint64_t offset, unsigned size)
{
	uint64_t v;

	if (!access_ok(offset, size) || !pci_msix_bar_covers(fn, fn->msix_bar, offset))
		return ~0ull;
	pthread_mutex_lock(&fn->msix_lock);
	v = word_read(fn, offset);
	if (size == 8)
		v |= (uint64_t)word_read(fn, offset + 4) << 32;
	pthread_mutex_unlock(&fn->msix_lock);
	return v;
}

void pci_msix_bar_write(struct pci_fn *fn, uint64_t offset, uint64_t value, unsigned size)
{
	uint64_t at = offset - fn->msix_table_offset;
	struct pci_msix_vector *v;

	/* The PBA is read-only. */
	if (!access_ok(offset, size) || !fn->nr_msix || !in_table(fn, offset))
		return;
	v = &fn->msix[at / ENTRY_BYTES];
	pthread_mutex_lock(&fn->msix_lock);
	*entry_word(v, at % ENTRY_BYTES / 4) = (uint32_t)value;
	if (size == 8)
		*entry_word(v, at % ENTRY_BYTES / 4 + 1) = (uint32_t)(value >> 32);
	v->control &= MASKED;
	vector_update(fn, v);
	pthread_mutex_unlock(&fn->msix_lock);
}

bool pci_msix_enabled(struct pci_fn *fn)
{
	bool on;

	pthread_mutex_lock(&fn->msix_lock);
	on = enabled(fn);
	pthread_mutex_unlock(&fn->msix_lock);
	return on;
}

void pci_msix_signal(struct pci_fn *fn, unsigned vec)
{
	pthread_mutex_lock(&fn->msix_lock);
	if (vec < fn->nr_msix && enabled(fn)) {
		struct pci_msix_vector *v = &fn->msix[vec];

		if (masked(fn, v))
			v->pending = true;
		else if (v->routed)
			deliver(v);
	}
	pthread_mutex_unlock(&fn->msix_lock);
}
