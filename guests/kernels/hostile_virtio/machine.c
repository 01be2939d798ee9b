/* Attacks on what lies around the device: MSI-X, BARs, configuration space, ports, empty space. */
#include "hostile_virtio/hostile.h"

#define SPURIOUS_VECTOR 95 /* as in intr.c: taken and forgotten */

struct saved {
	uint16_t command;
	uint32_t bar[6];
	uint8_t line;
};

static void save(struct target *t, struct saved *s)
{
	s->command = pci_read16(t->dev.pci_dev, PCI_COMMAND);
	s->line = pci_read8(t->dev.pci_dev, PCI_INT_LINE);
	for (unsigned i = 0; i < 6; i++)
		s->bar[i] = pci_read32(t->dev.pci_dev, PCI_BAR0 + 4 * i);
}

static void restore(struct target *t, const struct saved *s)
{
	pci_write16(t->dev.pci_dev, PCI_COMMAND, 0);
	for (unsigned i = 0; i < 6; i++)
		pci_write32(t->dev.pci_dev, PCI_BAR0 + 4 * i, s->bar[i]);
	pci_write8(t->dev.pci_dev, PCI_INT_LINE, s->line);
	pci_write16(t->dev.pci_dev, PCI_COMMAND, s->command);
}

static int memory_bar(const struct saved *s)
{
	for (int i = 0; i < 6; i++) {
		if (s->bar[i] & ~15u && !(s->bar[i] & 1))
			return i;
	}
	return -1;
}

static void ask_for_interrupt(struct target *t)
{
	set_desc(t, 0, (uintptr_t)t->data, 16, t->writes ? VRING_DESC_WRITE : 0, 0);
	expose(t, 0);
}

/* Garbage addresses and data, but no message that would stop this very CPU (INIT, NMI, …). */
static void msix_garbage(struct target *t)
{
	static const struct {
		uint32_t lo, hi, data;
	} bad[] = {
		{ 0x00000000, 0, 0 },
		{ 0xffffffff, 0xffffffff, 0xffffffff },
		{ 0x00200000, 0, 0x12345678 },	    /* guest memory */
		{ 0xfeeff000, 0, SPURIOUS_VECTOR }, /* no such CPU */
		{ 0xfee00004, 7, SPURIOUS_VECTOR }, /* above 4 GiB */
		{ 0xfee00000, 0, 0xffff0000 | SPURIOUS_VECTOR },
		{ 0xfee00000, 0, 0x300 | SPURIOUS_VECTOR }, /* reserved delivery mode */
		{ 0xc0000000, 0, 0x55 },
	};
	unsigned n = t->dev.nr_vectors;

	if (!n)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned e = 0; e < n; e++) {
			uintptr_t at = pci_msix_entry(t->dev.pci_dev, e);

			mmio_write32(at + 12, (uint32_t)target_random(t) | 1);
			mmio_write32(at, bad[i].lo);
			mmio_write32(at + 4, bad[i].hi);
			mmio_write32(at + 8, bad[i].data);
			mmio_write32(at + 12, 0xfffffffe);
		}
		ask_for_interrupt(t);
	}
}

static void msix_toggled(struct target *t)
{
	unsigned dev = t->dev.pci_dev, cap = pci_find_cap(dev, PCI_CAP_MSIX, 0);

	if (!cap)
		return;
	for (unsigned i = 0; i < 50; i++) {
		pci_write16(dev, cap + 2, (uint16_t)(target_random(t) & 0xffff));
		pci_write32(dev, cap + 4, (uint32_t)target_random(t));
		pci_write32(dev, cap + 8, (uint32_t)target_random(t));
		ask_for_interrupt(t);
	}
}

static void msix_vectors_absent(struct target *t)
{
	static const uint16_t vectors[] = { 0x7fff, 0xffff, 64, 2048, 0xfffe };

	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		mmio_write16(t->dev.common + 16, vectors[i]);
		mmio_write16(t->dev.common + 22, (uint16_t)t->queue);
		mmio_write16(t->dev.common + 26, vectors[i]);
		CHECK(mmio_read16(t->dev.common + 26) == 0xffff, "vector 0x%x was taken",
		      vectors[i]);
		ask_for_interrupt(t);
	}
}

static void msix_table_noise(struct target *t)
{
	uintptr_t at;

	if (!t->dev.nr_vectors)
		return;
	/* Masked function: nothing of this is ever sent. */
	pci_write16(t->dev.pci_dev, pci_find_cap(t->dev.pci_dev, PCI_CAP_MSIX, 0) + 2, 0xc000);
	at = pci_msix_entry(t->dev.pci_dev, 0);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t r = target_random(t);
		uintptr_t where = at + (r >> 32) % (16 * t->dev.nr_vectors + 64);

		if (r & 1)
			mmio_write8(where, (uint8_t)(r >> 8));
		else if (r & 2)
			mmio_write32(where & ~3ull, (uint32_t)(r >> 8));
		else if (r & 4)
			mmio_write64(where & ~7ull, r);
		else
			mmio_read64(where & ~7ull);
		if (!(i & 31))
			ask_for_interrupt(t);
	}
}

static void bar_moved(struct target *t)
{
	static const uint32_t places[] = { 0x00000000, 0x00100000, 0x00200000, 0x00400000,
					   0xfee00000, 0xfec00000, 0xe0000000, 0xe8000000,
					   0xfffff000, 0xc0000000, 0xc0001000, 0xdffff000 };
	struct saved s;
	int bar;

	save(t, &s);
	bar = memory_bar(&s);
	if (bar < 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		unsigned at = PCI_BAR0 + 4 * (unsigned)bar;

		pci_write32(t->dev.pci_dev, at, places[i]); /* while it is decoded */
		pci_read32(t->dev.pci_dev, at);
		pci_write32(t->dev.pci_dev, at, 0xffffffff); /* and sized where it may not be */
		pci_read32(t->dev.pci_dev, at);
		if ((s.bar[bar] & 6) == 4) {
			pci_write32(t->dev.pci_dev, at + 4, 0xffffffff);
			pci_write32(t->dev.pci_dev, at, places[i]);
			pci_write32(t->dev.pci_dev, at + 4, 0x10);
			pci_write32(t->dev.pci_dev, at + 4, 0);
		}
		/* Our own memory still has to be ours. */
		*(volatile uint64_t *)t->data = places[i];
		CHECK(*(volatile uint64_t *)t->data == places[i], "a BAR at 0x%x hides memory",
		      places[i]);
	}
	restore(t, &s);
	target_works(t, "moving its BAR about");
}

static void decoding_off(struct target *t)
{
	struct saved s;

	save(t, &s);
	for (unsigned i = 0; i < 20; i++) {
		pci_write16(t->dev.pci_dev, PCI_COMMAND, (uint16_t)target_random(t));
		mmio_read32(t->dev.common);
		doorbell(t);
	}
	restore(t, &s);
}

static void config_noise(struct target *t)
{
	uint64_t n = cmdline_u64("n", 500);
	struct saved s;

	save(t, &s);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t r = target_random(t);
		unsigned at = r >> 8 & 0xff;

		if (r & 1)
			pci_write8(t->dev.pci_dev, at, (uint8_t)(r >> 16));
		else if (r & 2)
			pci_write16(t->dev.pci_dev, at & ~1u, (uint16_t)(r >> 16));
		else
			pci_write32(t->dev.pci_dev, at & ~3u, (uint32_t)(r >> 16));
		pci_read32(t->dev.pci_dev, at & ~3u);
	}
	restore(t, &s);
	for (unsigned i = 0; i < 40; i++) { /* functions that are not there, and the bridge */
		uint64_t r = target_random(t);
		unsigned dev = r & 31;

		if (dev && pci_read32(dev, 0) != 0xffffffff)
			continue;
		pci_write32(dev, r >> 8 & 0xfc, (uint32_t)(r >> 16));
	}
}

/* The window that reaches BARs through configuration space (VIRTIO_PCI_CAP_PCI_CFG). */
static void config_window(struct target *t)
{
	unsigned cap = 0, dev = t->dev.pci_dev;

	while ((cap = pci_find_cap(dev, PCI_CAP_VENDOR, cap))) {
		if (pci_read8(dev, cap + 3) == 5)
			break;
	}
	if (!cap)
		return;
	for (unsigned i = 0; i < 300; i++) {
		uint64_t r = target_random(t);

		pci_write8(dev, cap + 4, r & 3 ? pci_read8(dev, cap + 4) : (uint8_t)(r >> 8));
		pci_write32(dev, cap + 8,
			    r & 4 ? (uint32_t)(r >> 16) & 0xfff : (uint32_t)(r >> 16));
		pci_write32(dev, cap + 12, r & 8 ? 1u << (r >> 48 & 3) : (uint32_t)(r >> 40));
		if (r & 16)
			pci_read32(dev, cap + 16);
		else
			pci_write32(dev, cap + 16, (uint32_t)(r >> 24));
	}
}

static void machine_noises(struct target *t)
{
	for (unsigned i = 0; i < 300; i++)
		machine_noise(target_random(t));
}

static void empty_space(struct target *t)
{
	for (const uintptr_t *at = machine_empty; *at; at++) {
		mmio_read8(*at);
		mmio_read32(*at & ~3ull);
		mmio_write32(*at & ~3ull, (uint32_t)target_random(t));
		mmio_read64(*at & ~7ull);
		mmio_write64(*at & ~7ull, target_random(t));
	}
}

const struct attack machine_attacks[] = {
	{ "msix_garbage", MAY_BREAK, msix_garbage, .pci_only = true },
	{ "msix_toggled", MAY_BREAK, msix_toggled, .pci_only = true },
	{ "msix_vectors_absent", MAY_BREAK, msix_vectors_absent, .pci_only = true },
	{ "msix_table_noise", MAY_BREAK, msix_table_noise, .pci_only = true },
	{ "bar_moved", MAY_BREAK, bar_moved, .pci_only = true },
	{ "decoding_off", MAY_BREAK, decoding_off, .pci_only = true },
	{ "config_noise", MAY_BREAK, config_noise, .pci_only = true },
	{ "config_window", MAY_BREAK, config_window, .pci_only = true },
	{ "machine_noise", MAY_BREAK, machine_noises },
	{ "empty_space", MAY_BREAK, empty_space },
	{ 0 },
};
