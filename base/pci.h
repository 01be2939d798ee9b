/*
 * PCI: one host bridge with one bus, functions with BARs, INTx and MSI-X.
 *
 * The guest's configuration accesses come in on vCPU threads; pci_msix_signal() and pci_intx_set()
 * are called by whichever thread serves the device. The host's lock guards configuration space and
 * BARs, the function's msix_lock guards its vectors. Source: PCI Local Bus Specification 3.0,
 * PCI Express Base Specification 4.0 (ECAM).
 *
 * Order of locks: host->lock, then intx_lock or msix_lock, never the other way round. A write to
 * configuration space that moves a BAR waits, with host->lock held, until no handler of that BAR
 * runs any more: a BAR's handler (and any loop that it waits for) must not take host->lock. That
 * is why what the interrupt path reads of configuration space is also guarded by the inner locks:
 * the command register by intx_lock, the MSI-X message control by msix_lock.
 */
#ifndef BASE_PCI_H
#define BASE_PCI_H

#include <pthread.h>

#include "base/bus.h"
#include "base/log.h"
#include "base/platform.h"
#include "base/types.h"

#define PCI_MAX_FN    32 /* devices on the bus; function 0 of each */
#define PCI_NR_BARS   6
#define PCI_CFG_BYTES 256
#define PCI_MAX_MSIX  64

struct pci_fn;
struct pci_host;

struct pci_ids {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size_bytes;
	struct bus_region region; /* base is where the guest has put it; on the bus while decoded */
	bool mapped;
};

struct pci_fn_ops {
	/* The BAR has become visible at region.base (mapped) or is about to vanish from there: the
	 * place to move doorbells. Called with the host's lock held, on a vCPU thread. May be NULL.
	 */
	void (*bar_mapped)(struct pci_fn *fn, unsigned bar, bool mapped);
	/* Configuration accesses to [hook_base, hook_base + hook_bytes) go to these instead of the
	 * array (virtio's VIRTIO_PCI_CAP_PCI_CFG window). Called without the host's lock. */
	uint32_t (*cfg_hook_read)(struct pci_fn *fn, unsigned offset, unsigned size);
	void (*cfg_hook_write)(struct pci_fn *fn, unsigned offset, uint32_t value, unsigned size);
};

struct pci_msix_vector {
	struct msi_route route;
	uint32_t addr_lo, addr_hi, data, control; /* the table entry as the guest wrote it */
	bool pending;
	bool routed;
};

struct pci_fn {
	const char *name;
	const struct pci_fn_ops *ops;
	struct platform *plat;
	struct pci_host *host; /* NULL until pci_host_add() */
	unsigned devfn;
	uint8_t cfg[PCI_CFG_BYTES];
	uint8_t wmask[PCI_CFG_BYTES]; /* bits that the guest may write */
	unsigned next_cap;	      /* next free offset for a capability */
	unsigned last_cap;	      /* offset of the last capability in the list, 0 if none */
	unsigned hook_base, hook_bytes;
	struct pci_bar bar[PCI_NR_BARS];
	/* INTx */
	unsigned gsi;
	bool intx_level; /* guarded by host->intx_lock */
	/* MSI-X */
	pthread_mutex_t msix_lock;
	unsigned nr_msix;
	unsigned msix_cap, msix_bar, msix_table_offset, msix_pba_offset;
	struct pci_msix_vector msix[PCI_MAX_MSIX];
};

/* Where things lie; the architecture fills it in. */
struct pci_layout {
	gpa_t ecam_base;
	uint64_t ecam_bytes;		/* 1 MiB a bus */
	uint64_t mmio_base, mmio_bytes; /* window for memory BARs */
	uint64_t io_base, io_bytes;	/* window for I/O BARs; 0 bytes: none */
	unsigned intx_gsi[8];		/* device d, pin A uses intx_gsi[d % 8] */
	bool conf1;			/* answer 0xcf8/0xcfc too */
};

struct pci_host {
	struct platform *plat;
	struct pci_layout layout;
	pthread_mutex_t lock;	   /* configuration space of every function */
	pthread_mutex_t intx_lock; /* levels of shared lines */
	struct pci_fn *fn[PCI_MAX_FN];
	struct bus_region ecam, conf_addr, conf_data;
	uint32_t conf1_address;
	/* Only 4-byte accesses at 0xcf8 are PCI's; others go to this region, which lies under it
	 * (the reset register at 0xcf9) and is on no bus. Set before vCPUs run; NULL: nothing
	 * there. */
	struct bus_region *under_conf1;
	uint64_t next_mmio, next_io;
	struct pci_fn bridge; /* 00:00.0 */
	struct log_limit log;
};

int pci_host_init(struct pci_host *h, struct platform *plat, const struct pci_layout *layout);
void pci_host_fini(struct pci_host *h); /* after every pci_fn_fini() */

/* Building a function, before pci_host_add(): */
void pci_fn_init(struct pci_fn *fn, const char *name, struct platform *plat,
		 const struct pci_ids *ids, const struct pci_fn_ops *ops);
/* Appends a capability of len bytes (header included); returns its offset, or -ENOSPC. The caller
 * fills fn->cfg[offset + 2 ..] and, for writable bits, fn->wmask. */
int pci_add_cap(struct pci_fn *fn, uint8_t id, unsigned len);
/* size_bytes: a power of two, at least 16 (memory) or 4 (I/O). MEM64 takes two BAR numbers. */
int pci_set_bar(struct pci_fn *fn, unsigned bar, enum pci_bar_kind kind, uint64_t size_bytes,
		const struct bus_ops *ops, void *opaque);
/* MSI-X with `nr` vectors whose table and PBA lie in `bar` (which the device has declared, and
 * whose bus_ops forwards [table, table + 16 nr) and [pba, …) to pci_msix_bar_read/write). Makes an
 * eventfd per vector. Errors: -ENOSPC, errno of eventfd. */
int pci_msix_init(struct pci_fn *fn, unsigned nr, unsigned bar, unsigned table_offset,
		  unsigned pba_offset);
bool pci_msix_bar_covers(const struct pci_fn *fn, unsigned bar, uint64_t offset);
uint64_t pci_msix_bar_read(struct pci_fn *fn, uint64_t offset, unsigned size);
void pci_msix_bar_write(struct pci_fn *fn, uint64_t offset, uint64_t value, unsigned size);

/* Gives it a device number, places its BARs in the window and lets the guest see it; memory and I/O
 * decoding is on, as firmware would leave it. Errors: -ENOSPC. */
int pci_host_add(struct pci_host *h, struct pci_fn *fn);
/* Configuration space as it stands, little-endian; 1, 2 or 4 bytes. For cfg_hook_* and the like:
 * takes the host's lock. */
uint32_t pci_cfg_peek(struct pci_fn *fn, unsigned offset, unsigned size);
/* Takes it off the bus again and closes what pci_msix_init() opened. */
void pci_fn_fini(struct pci_fn *fn);

bool pci_msix_enabled(struct pci_fn *fn);
/* Delivers vector `vec`, or marks it pending while masked. A vector that is out of range or MSI-X
 * being off delivers nothing. */
void pci_msix_signal(struct pci_fn *fn, unsigned vec);
/* Level of INTx pin A of this function. Nothing is delivered while the guest has INTx disabled. */
void pci_intx_set(struct pci_fn *fn, bool level);

#endif
