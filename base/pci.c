/*
 * PCI configuration space, BARs, INTx and the host bridge: see pci.h for threads and locks.
 *
 * Everything a guest may write goes through one path: an access is cut into pieces within one
 * dword, the piece is merged under the write mask, and then what depends on those bytes (BARs,
 * interrupt lines, MSI-X) is made to follow.
 *
 * The host bridge claims its windows only, as a real one does: a BAR that the guest puts anywhere
 * else, over guest memory or over another device, answers nothing until it is moved again.
 */
#include "base/pci_internal.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ALL_ONES  0xffffffffu
#define FIRST_CAP 0x40
#define DECODE	  (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)

#define CONF1_ADDRESS 0xcf8
#define CONF1_DATA    0xcfc
#define CONF1_ENABLE  0x80000000u

static uint16_t cfg16(const struct pci_fn *fn, unsigned offset)
{
	return (uint16_t)(fn->cfg[offset] | fn->cfg[offset + 1] << 8);
}

static uint32_t cfg32(const struct pci_fn *fn, unsigned offset)
{
	return cfg16(fn, offset) | (uint32_t)cfg16(fn, offset + 2) << 16;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

static unsigned bar_offset(unsigned bar)
{
	return PCI_BASE_ADDRESS_0 + 4 * bar;
}

/* Building a function */

void pci_fn_init(struct pci_fn *fn, const char *name, struct platform *plat,
		 const struct pci_ids *ids, const struct pci_fn_ops *ops)
{
	memset(fn, 0, sizeof(*fn));
	fn->name = name;
	fn->ops = ops;
	fn->plat = plat;
	fn->next_cap = FIRST_CAP;
	pthread_mutex_init(&fn->msix_lock, NULL);

	put16(&fn->cfg[PCI_VENDOR_ID], ids->vendor);
	put16(&fn->cfg[PCI_DEVICE_ID], ids->device);
	put32(&fn->cfg[PCI_CLASS_REVISION], ids->class_code << 8 | ids->revision);
	put16(&fn->cfg[PCI_SUBSYSTEM_VENDOR_ID], ids->subsystem_vendor);
	put16(&fn->cfg[PCI_SUBSYSTEM_ID], ids->subsystem);
	put16(&fn->wmask[PCI_COMMAND], DECODE | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	fn->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	fn->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

int pci_add_cap(struct pci_fn *fn, uint8_t id, unsigned len)
{
	unsigned at = fn->next_cap;

	if (len < 2 || len > PCI_CFG_BYTES - at)
		return -ENOSPC;
	fn->cfg[at + PCI_CAP_LIST_ID] = id;
	fn->cfg[at + PCI_CAP_LIST_NEXT] = 0;
	fn->cfg[fn->last_cap ? fn->last_cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST] =
		(uint8_t)at;
	fn->cfg[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->last_cap = at;
	fn->next_cap = (unsigned)ALIGN_UP(at + len, 4);
	return (int)at;
}

int pci_set_bar(struct pci_fn *fn, unsigned bar, enum pci_bar_kind kind, uint64_t size_bytes,
		const struct bus_ops *ops, void *opaque)
{
	bool wide = kind == PCI_BAR_MEM64, io = kind == PCI_BAR_IO;
	struct pci_bar *b;

	if (bar >= PCI_NR_BARS || (wide && bar + 1 >= PCI_NR_BARS) || kind == PCI_BAR_NONE ||
	    !is_pow2(size_bytes) || size_bytes < (io ? 4 : 16) || (!wide && size_bytes > GIB(2)))
		return -EINVAL;
	b = &fn->bar[bar];
	b->kind = kind;
	b->size_bytes = size_bytes;
	b->region = (struct bus_region){
		.name = fn->name, .size_bytes = size_bytes, .ops = ops, .opaque = opaque
	};
	/* The writable bits are what the guest learns the size from. */
	put32(&fn->wmask[bar_offset(bar)], (uint32_t) ~(size_bytes - 1));
	if (wide)
		put32(&fn->wmask[bar_offset(bar + 1)], (uint32_t)(~(size_bytes - 1) >> 32));
	if (io)
		fn->cfg[bar_offset(bar)] = PCI_BASE_ADDRESS_SPACE_IO;
	else if (wide)
		fn->cfg[bar_offset(bar)] = PCI_BASE_ADDRESS_MEM_TYPE_64;
	return 0;
}

/* BARs; under host->lock */

static struct bus *bar_bus(const struct pci_fn *fn, const struct pci_bar *b)
{
	return b->kind == PCI_BAR_IO ? fn->plat->pio : fn->plat->mmio;
}

/* Where the guest wants it; false: nowhere. */
static bool bar_wanted(const struct pci_fn *fn, unsigned bar, uint64_t *base)
{
	const struct pci_bar *b = &fn->bar[bar];
	uint16_t command = cfg16(fn, PCI_COMMAND);

	if (b->kind == PCI_BAR_IO) {
		*base = cfg32(fn, bar_offset(bar)) & PCI_BASE_ADDRESS_IO_MASK;
		return command & PCI_COMMAND_IO;
	}
	*base = cfg32(fn, bar_offset(bar)) & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	if (b->kind == PCI_BAR_MEM64)
		*base |= (uint64_t)cfg32(fn, bar_offset(bar + 1)) << 32;
	return command & PCI_COMMAND_MEMORY;
}

static bool within(uint64_t base, uint64_t size, uint64_t window, uint64_t window_size)
{
	return base >= window && size <= window_size && base - window <= window_size - size;
}

static bool overlaps_memory(const struct gmem *mem, uint64_t base, uint64_t size)
{
	for (unsigned i = 0; mem && i < mem->nr_regions; i++) {
		const struct gmem_region *r = &mem->region[i];

		if (base < r->base ? size > r->base - base : base - r->base < r->size_bytes)
			return true;
	}
	return false;
}

static bool bar_may_lie_at(const struct pci_fn *fn, const struct pci_bar *b, uint64_t base)
{
	const struct pci_layout *l = &fn->host->layout;

	if (b->kind == PCI_BAR_IO)
		return fn->plat->pio && within(base, b->size_bytes, l->io_base, l->io_bytes);
	return within(base, b->size_bytes, l->mmio_base, l->mmio_bytes) &&
	       !overlaps_memory(fn->plat->mem, base, b->size_bytes);
}

static void bar_unmap(struct pci_fn *fn, unsigned bar)
{
	struct pci_bar *b = &fn->bar[bar];

	if (!b->mapped)
		return;
	if (fn->ops && fn->ops->bar_mapped)
		fn->ops->bar_mapped(fn, bar, false);
	bus_del(bar_bus(fn, b), &b->region);
	b->mapped = false;
}

/* Makes the bus follow command register and BAR. An error leaves the BAR unmapped. */
static int bar_update(struct pci_fn *fn, unsigned bar)
{
	struct pci_bar *b = &fn->bar[bar];
	uint64_t base;
	int rc;

	if (b->kind == PCI_BAR_NONE)
		return 0;
	if (!bar_wanted(fn, bar, &base) || !bar_may_lie_at(fn, b, base)) {
		bar_unmap(fn, bar);
		return 0;
	}
	if (b->mapped && b->region.base == base)
		return 0;
	bar_unmap(fn, bar);
	b->region.base = base;
	rc = bus_add(bar_bus(fn, b), &b->region);
	if (rc)
		return rc;
	b->mapped = true;
	if (fn->ops && fn->ops->bar_mapped)
		fn->ops->bar_mapped(fn, bar, true);
	return 0;
}

/* Always all of them: one that lost to an overlap may fit now. */
static void bars_update(struct pci_host *h, struct pci_fn *fn)
{
	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		int rc = bar_update(fn, i);

		if (rc)
			log_limited(&h->log, LOG_WARN, fn->name, "BAR %u cannot lie at 0x%llx: %s",
				    i, (unsigned long long)fn->bar[i].region.base, strerror(-rc));
	}
}

/* INTx; under host->intx_lock */

static bool intx_asserted(const struct pci_fn *fn)
{
	return fn->intx_level && !(cfg16(fn, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
}

/* The line is wired-or: functions that share it are combined here. */
static bool line_level(const struct pci_host *h, unsigned gsi)
{
	for (unsigned i = 0; i < PCI_MAX_FN; i++) {
		const struct pci_fn *fn = h->fn[i];

		if (fn && fn != &h->bridge && fn->gsi == gsi && intx_asserted(fn))
			return true;
	}
	return false;
}

static void line_follow(struct pci_host *h, unsigned gsi, bool before)
{
	bool after = line_level(h, gsi);

	if (before != after)
		h->plat->ops->line_set(h->plat, gsi, after);
}

void pci_intx_set(struct pci_fn *fn, bool level)
{
	struct pci_host *h = fn->host;
	bool before;

	if (!h)
		return;
	pthread_mutex_lock(&h->intx_lock);
	before = line_level(h, fn->gsi);
	fn->intx_level = level;
	line_follow(h, fn->gsi, before);
	pthread_mutex_unlock(&h->intx_lock);
}

static void command_write(struct pci_host *h, struct pci_fn *fn, uint16_t command)
{
	bool before;

	pthread_mutex_lock(&h->intx_lock);
	before = line_level(h, fn->gsi);
	put16(&fn->cfg[PCI_COMMAND], command);
	line_follow(h, fn->gsi, before);
	pthread_mutex_unlock(&h->intx_lock);
}

/* Configuration accesses: pieces of 1 to 4 bytes within one dword, under host->lock */

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned bytes)
{
	return offset < first + bytes && first < offset + size;
}

static uint32_t cfg_read(struct pci_host *h, struct pci_fn *fn, unsigned offset, unsigned size)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = fn->cfg[offset + i];

		if (offset + i == PCI_STATUS) {
			pthread_mutex_lock(&h->intx_lock);
			byte |= fn->intx_level ? PCI_STATUS_INTERRUPT : 0;
			pthread_mutex_unlock(&h->intx_lock);
		}
		v |= (uint32_t)byte << (8 * i);
	}
	return v;
}

static void cfg_write(struct pci_host *h, struct pci_fn *fn, unsigned offset, uint32_t value,
		      unsigned size)
{
	uint8_t merged[4];
	unsigned word = offset & ~3u;

	memcpy(merged, &fn->cfg[word], 4);
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = fn->wmask[offset + i], *byte = &merged[offset + i - word];

		*byte = (uint8_t)((*byte & ~mask) | (value >> (8 * i) & mask));
	}
	if (word == PCI_COMMAND) {
		command_write(h, fn, (uint16_t)(merged[0] | merged[1] << 8));
		bars_update(h, fn);
	} else if (fn->nr_msix && word == fn->msix_cap) {
		/* Only the message control word of this dword is writable. */
		pci_msix_control_write(fn, (uint16_t)(merged[2] | merged[3] << 8));
	} else {
		memcpy(&fn->cfg[word], merged, 4);
		if (touches(word, 4, PCI_BASE_ADDRESS_0, 4 * PCI_NR_BARS))
			bars_update(h, fn);
	}
}

/* One function at each device number: `fn` is bus << 8 | devfn. */
static struct pci_fn *find_fn(struct pci_host *h, uint32_t bdf)
{
	return bdf >> 3 < PCI_MAX_FN && (bdf & 7) == 0 ? h->fn[bdf >> 3] : NULL;
}

static bool hooked(const struct pci_fn *fn, unsigned offset, unsigned size)
{
	return fn->hook_bytes && touches(offset, size, fn->hook_base, fn->hook_bytes);
}

static bool naturally_aligned(unsigned offset, unsigned size)
{
	return is_pow2(size) && offset % size == 0;
}

static uint32_t piece_read(struct pci_host *h, uint32_t bdf, unsigned offset, unsigned size)
{
	struct pci_fn *fn;
	uint32_t v = ALL_ONES;
	bool hook;

	pthread_mutex_lock(&h->lock);
	fn = find_fn(h, bdf);
	hook = fn && hooked(fn, offset, size);
	if (fn && offset >= PCI_CFG_BYTES)
		v = 0; /* no extended capabilities */
	else if (fn && !hook)
		v = cfg_read(h, fn, offset, size);
	pthread_mutex_unlock(&h->lock);
	/* Functions stay while vCPUs run, so fn is good without the lock. */
	if (hook && fn->ops && fn->ops->cfg_hook_read && naturally_aligned(offset, size))
		v = fn->ops->cfg_hook_read(fn, offset, size);
	return v;
}

static void piece_write(struct pci_host *h, uint32_t bdf, unsigned offset, uint32_t value,
			unsigned size)
{
	struct pci_fn *fn;
	bool hook;

	pthread_mutex_lock(&h->lock);
	fn = find_fn(h, bdf);
	hook = fn && hooked(fn, offset, size);
	if (fn && !hook && offset < PCI_CFG_BYTES)
		cfg_write(h, fn, offset, value, size);
	pthread_mutex_unlock(&h->lock);
	if (hook && fn->ops && fn->ops->cfg_hook_write && naturally_aligned(offset, size))
		fn->ops->cfg_hook_write(fn, offset, value, size);
}

/* Of the next piece of an access: it ends with its dword. */
static unsigned piece_size(uint64_t offset, unsigned left)
{
	unsigned room = 4 - (offset & 3);

	return left < room ? left : room;
}

static uint64_t ecam_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	uint64_t v = 0;

	for (unsigned done = 0, n; done < size; done += n, offset += n) {
		uint32_t piece;

		n = piece_size(offset, size - done);
		piece = piece_read(r->opaque, (uint32_t)(offset >> 12), offset & 0xfff, n);
		if (n < 4)
			piece &= (1u << (8 * n)) - 1;
		v |= (uint64_t)piece << (8 * done);
	}
	return v;
}

static void ecam_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	for (unsigned done = 0, n; done < size; done += n, offset += n) {
		n = piece_size(offset, size - done);
		piece_write(r->opaque, (uint32_t)(offset >> 12), offset & 0xfff,
			    (uint32_t)(value >> (8 * done)), n);
	}
}

static const struct bus_ops ecam_ops = { .read = ecam_read, .write = ecam_write };

/* What answers an access to the address register that is not PCI's. */
static struct bus_region *under_conf1(struct pci_host *h, uint64_t offset, unsigned size)
{
	struct bus_region *u = h->under_conf1;
	uint64_t port = h->conf_addr.base + offset;

	return u && port >= u->base && port - u->base + size <= u->size_bytes ? u : NULL;
}

/* Mechanism #1: only a dword access at 0xcf8 is one to the address register. */
static uint64_t conf_addr_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct pci_host *h = r->opaque;
	struct bus_region *under;
	uint32_t v;

	if (size != 4) {
		under = under_conf1(h, offset, size);
		return under ? under->ops->read(under, h->conf_addr.base + offset - under->base,
						size)
			     : ~0ull;
	}
	pthread_mutex_lock(&h->lock);
	v = h->conf1_address;
	pthread_mutex_unlock(&h->lock);
	return v;
}

static void conf_addr_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_host *h = r->opaque;
	struct bus_region *under;

	if (size != 4) {
		under = under_conf1(h, offset, size);
		if (under)
			under->ops->write(under, h->conf_addr.base + offset - under->base, value,
					  size);
		return;
	}
	pthread_mutex_lock(&h->lock);
	h->conf1_address = (uint32_t)value & 0x80fffffcu;
	pthread_mutex_unlock(&h->lock);
}

static bool conf1_target(struct pci_host *h, uint64_t port, uint32_t *bdf, unsigned *offset)
{
	uint32_t address;

	pthread_mutex_lock(&h->lock);
	address = h->conf1_address;
	pthread_mutex_unlock(&h->lock);
	*bdf = address >> 8 & 0xffff;
	*offset = (address & 0xfc) + (unsigned)port;
	return address & CONF1_ENABLE;
}

static uint64_t conf_data_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	unsigned at;
	uint32_t bdf;

	if (!conf1_target(r->opaque, offset, &bdf, &at) || size > 4)
		return ~0ull;
	return piece_read(r->opaque, bdf, at, size);
}

static void conf_data_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	unsigned at;
	uint32_t bdf;

	if (conf1_target(r->opaque, offset, &bdf, &at) && size <= 4)
		piece_write(r->opaque, bdf, at, (uint32_t)value, size);
}

static const struct bus_ops conf_addr_ops = { .read = conf_addr_read, .write = conf_addr_write };
static const struct bus_ops conf_data_ops = { .read = conf_data_read, .write = conf_data_write };

uint32_t pci_cfg_peek(struct pci_fn *fn, unsigned offset, unsigned size)
{
	uint32_t v = 0;

	if (size > 4 || offset > PCI_CFG_BYTES - size)
		return ALL_ONES;
	if (fn->host)
		pthread_mutex_lock(&fn->host->lock);
	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)fn->cfg[offset + i] << (8 * i);
	if (fn->host)
		pthread_mutex_unlock(&fn->host->lock);
	return v;
}

/* The host */

static int conf1_init(struct pci_host *h)
{
	int rc;

	if (!h->layout.conf1 || !h->plat->pio)
		return 0;
	h->conf_addr = (struct bus_region){ .name = "pci-address",
					    .base = CONF1_ADDRESS,
					    .size_bytes = 4,
					    .ops = &conf_addr_ops,
					    .opaque = h };
	h->conf_data = (struct bus_region){ .name = "pci-data",
					    .base = CONF1_DATA,
					    .size_bytes = 4,
					    .ops = &conf_data_ops,
					    .opaque = h };
	rc = bus_add(h->plat->pio, &h->conf_addr);
	if (rc)
		return rc;
	rc = bus_add(h->plat->pio, &h->conf_data);
	if (rc)
		bus_del(h->plat->pio, &h->conf_addr);
	return rc;
}

int pci_host_init(struct pci_host *h, struct platform *plat, const struct pci_layout *layout)
{
	/* QEMU's generic PCIe host bridge: needs no driver. */
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0008,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x060000,
	};
	int rc;

	memset(h, 0, sizeof(*h));
	h->plat = plat;
	h->layout = *layout;
	h->next_mmio = layout->mmio_base;
	h->next_io = layout->io_base;
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->intx_lock, NULL);
	pci_fn_init(&h->bridge, "pci-host", plat, &ids, NULL);
	h->bridge.host = h;
	h->fn[0] = &h->bridge;

	rc = conf1_init(h);
	if (rc)
		goto out;
	if (layout->ecam_bytes) {
		h->ecam = (struct bus_region){ .name = "pci-ecam",
					       .base = layout->ecam_base,
					       .size_bytes = layout->ecam_bytes,
					       .ops = &ecam_ops,
					       .opaque = h };
		rc = bus_add(plat->mmio, &h->ecam);
		if (rc)
			goto out;
	}
	return 0;
out:
	pci_host_fini(h);
	return rc;
}

void pci_host_fini(struct pci_host *h)
{
	if (!h->plat)
		return;
	if (h->ecam.ops)
		bus_del(h->plat->mmio, &h->ecam);
	if (h->conf_data.ops)
		bus_del(h->plat->pio, &h->conf_data);
	if (h->conf_addr.ops)
		bus_del(h->plat->pio, &h->conf_addr);
	pci_fn_fini(&h->bridge);
	pthread_mutex_destroy(&h->intx_lock);
	pthread_mutex_destroy(&h->lock);
	h->plat = NULL;
}

static int bar_place(struct pci_host *h, struct pci_fn *fn, unsigned bar)
{
	const struct pci_layout *l = &h->layout;
	struct pci_bar *b = &fn->bar[bar];
	bool io = b->kind == PCI_BAR_IO;
	uint64_t *next = io ? &h->next_io : &h->next_mmio, base;

	if (b->kind == PCI_BAR_NONE)
		return 0;
	base = ALIGN_UP(*next, b->size_bytes);
	if (!within(base, b->size_bytes, io ? l->io_base : l->mmio_base,
		    io ? l->io_bytes : l->mmio_bytes))
		return -ENOSPC;
	/* A 32-bit BAR in a window above 4 GiB would be placed at a cut-off address. */
	if (b->kind == PCI_BAR_MEM32 && base + b->size_bytes > GIB(4))
		return -ENOSPC;
	put32(&fn->cfg[bar_offset(bar)], (uint32_t)base | fn->cfg[bar_offset(bar)]);
	if (b->kind == PCI_BAR_MEM64)
		put32(&fn->cfg[bar_offset(bar + 1)], (uint32_t)(base >> 32));
	*next = base + b->size_bytes;
	return 0;
}

/* Under host->lock. */
static int fn_place(struct pci_host *h, struct pci_fn *fn, unsigned dev)
{
	int rc;

	fn->devfn = dev << 3;
	fn->gsi = h->layout.intx_gsi[dev % ARRAY_SIZE(h->layout.intx_gsi)];
	fn->cfg[PCI_INTERRUPT_PIN] = 1;
	fn->cfg[PCI_INTERRUPT_LINE] = (uint8_t)fn->gsi;
	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		rc = bar_place(h, fn, i);
		if (rc)
			return rc;
	}
	fn->host = h;
	put16(&fn->cfg[PCI_COMMAND], DECODE);
	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		rc = bar_update(fn, i);
		if (rc)
			goto out;
	}
	pthread_mutex_lock(&h->intx_lock);
	h->fn[dev] = fn;
	pthread_mutex_unlock(&h->intx_lock);
	return 0;
out:
	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		bar_unmap(fn, i);
	fn->host = NULL;
	return rc;
}

int pci_host_add(struct pci_host *h, struct pci_fn *fn)
{
	int rc = -ENOSPC;

	pthread_mutex_lock(&h->lock);
	for (unsigned dev = 1; dev < PCI_MAX_FN; dev++) {
		if (!h->fn[dev]) {
			rc = fn_place(h, fn, dev);
			break;
		}
	}
	pthread_mutex_unlock(&h->lock);
	return rc;
}

void pci_fn_fini(struct pci_fn *fn)
{
	struct pci_host *h = fn->host;

	if (h) {
		pci_intx_set(fn, false);
		pthread_mutex_lock(&h->lock);
		for (unsigned i = 0; i < PCI_NR_BARS; i++)
			bar_unmap(fn, i);
		pthread_mutex_lock(&h->intx_lock);
		h->fn[fn->devfn >> 3] = NULL;
		pthread_mutex_unlock(&h->intx_lock);
		pthread_mutex_unlock(&h->lock);
		fn->host = NULL;
	}
	pci_msix_fini(fn);
	pthread_mutex_destroy(&fn->msix_lock);
}
