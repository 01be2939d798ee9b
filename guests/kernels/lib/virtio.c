/* Driver side of virtio: finding, registers, negotiation; see virtio.h. The rings are in vring.c.
 */
#include "lib/mem.h"
#include "lib/virtio.h"

enum { /* virtio_pci_common_cfg */
       COMMON_DFSELECT = 0,
       COMMON_DF = 4,
       COMMON_GFSELECT = 8,
       COMMON_GF = 12,
       COMMON_MSIX = 16,
       COMMON_NUM_QUEUES = 18,
       COMMON_STATUS = 20,
       COMMON_Q_SELECT = 22,
       COMMON_Q_SIZE = 24,
       COMMON_Q_MSIX = 26,
       COMMON_Q_ENABLE = 28,
       COMMON_Q_NOTIFY_OFF = 30,
       COMMON_Q_DESC = 32,
       COMMON_Q_DRIVER = 40,
       COMMON_Q_DEVICE = 48,
};

enum { /* MMIO */
       MMIO_MAGIC = 0x000,
       MMIO_VERSION = 0x004,
       MMIO_DEVICE_ID = 0x008,
       MMIO_DF = 0x010,
       MMIO_DFSELECT = 0x014,
       MMIO_GF = 0x020,
       MMIO_GFSELECT = 0x024,
       MMIO_Q_SELECT = 0x030,
       MMIO_Q_MAX = 0x034,
       MMIO_Q_SIZE = 0x038,
       MMIO_Q_READY = 0x044,
       MMIO_Q_NOTIFY = 0x050,
       MMIO_ISR = 0x060,
       MMIO_ISR_ACK = 0x064,
       MMIO_STATUS = 0x070,
       MMIO_Q_DESC = 0x080,
       MMIO_Q_DRIVER = 0x090,
       MMIO_Q_DEVICE = 0x0a0,
       MMIO_CONFIG = 0x100,
};

#define NO_VECTOR 0xffff
#define ISR_QUEUE 1

static bool pci_attach(struct virtio *v, unsigned dev)
{
	unsigned cap = 0;

	*v = (struct virtio){ .pci_dev = dev };
	pci_write16(dev, PCI_COMMAND,
		    (pci_read16(dev, PCI_COMMAND) | PCI_CMD_MEM | PCI_CMD_MASTER) &
			    ~PCI_CMD_NO_INTX);
	while ((cap = pci_find_cap(dev, PCI_CAP_VENDOR, cap))) {
		unsigned type = pci_read8(dev, cap + 3), bar = pci_read8(dev, cap + 4);
		uintptr_t at;

		if (type < 1 || type > 4 || bar > 5)
			continue;
		at = pci_bar(dev, bar) + pci_read32(dev, cap + 8);
		if (type == 1) {
			v->common = at;
		} else if (type == 2) {
			v->notify = at;
			v->notify_multiplier = pci_read32(dev, cap + 16);
		} else if (type == 3) {
			v->isr = at;
		} else {
			v->config = at;
		}
	}
	return v->common && v->notify && v->isr;
}

bool virtio_find(struct virtio *v, unsigned id, unsigned index)
{
	for (unsigned i = 0;; i++) {
		int dev = pci_find(0x1af4, (uint16_t)(0x1040 + id), i);

		if (dev < 0)
			break;
		if (!pci_attach(v, (unsigned)dev))
			fail("PCI device %d lacks virtio capabilities", dev);
		v->id = id;
		if (!index--)
			return true;
	}
	for (unsigned slot = 0; slot < VIRTIO_MMIO_SLOTS; slot++) {
		uintptr_t base = VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_STEP;

		if (mmio_read32(base + MMIO_MAGIC) != 0x74726976 ||
		    mmio_read32(base + MMIO_VERSION) != 2 ||
		    mmio_read32(base + MMIO_DEVICE_ID) != id)
			continue;
		if (index--)
			continue;
		*v = (struct virtio){
			.mmio = true,
			.id = id,
			.base = base,
			.config = base + MMIO_CONFIG,
			.gsi = machine_virtio_mmio_gsi(slot),
		};
		return true;
	}
	return false;
}

uint8_t virtio_status(struct virtio *v)
{
	return v->mmio ? (uint8_t)mmio_read32(v->base + MMIO_STATUS)
		       : mmio_read8(v->common + COMMON_STATUS);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	if (v->mmio)
		mmio_write32(v->base + MMIO_STATUS, status);
	else
		mmio_write8(v->common + COMMON_STATUS, status);
}

uint64_t virtio_offered(struct virtio *v)
{
	uint64_t f = 0;

	for (unsigned word = 0; word < 2; word++) {
		if (v->mmio) {
			mmio_write32(v->base + MMIO_DFSELECT, word);
			f |= (uint64_t)mmio_read32(v->base + MMIO_DF) << 32 * word;
		} else {
			mmio_write32(v->common + COMMON_DFSELECT, word);
			f |= (uint64_t)mmio_read32(v->common + COMMON_DF) << 32 * word;
		}
	}
	return f;
}

void virtio_accept(struct virtio *v, uint64_t features)
{
	for (unsigned word = 0; word < 2; word++) {
		uint32_t bits = (uint32_t)(features >> 32 * word);

		if (v->mmio) {
			mmio_write32(v->base + MMIO_GFSELECT, word);
			mmio_write32(v->base + MMIO_GF, bits);
		} else {
			mmio_write32(v->common + COMMON_GFSELECT, word);
			mmio_write32(v->common + COMMON_GF, bits);
		}
	}
}

static void queue_select(struct virtio *v, unsigned q)
{
	if (v->mmio)
		mmio_write32(v->base + MMIO_Q_SELECT, q);
	else
		mmio_write16(v->common + COMMON_Q_SELECT, (uint16_t)q);
}

unsigned virtio_queue_max(struct virtio *v, unsigned q)
{
	queue_select(v, q);
	return v->mmio ? mmio_read32(v->base + MMIO_Q_MAX) : mmio_read16(v->common + COMMON_Q_SIZE);
}

static void write_address(uintptr_t at, uint64_t gpa)
{
	mmio_write32(at, (uint32_t)gpa);
	mmio_write32(at + 4, (uint32_t)(gpa >> 32));
}

void virtio_queue_set(struct virtio *v, unsigned q, unsigned size, uint64_t desc, uint64_t avail,
		      uint64_t used)
{
	queue_select(v, q);
	if (v->mmio) {
		mmio_write32(v->base + MMIO_Q_SIZE, size);
		write_address(v->base + MMIO_Q_DESC, desc);
		write_address(v->base + MMIO_Q_DRIVER, avail);
		write_address(v->base + MMIO_Q_DEVICE, used);
		return;
	}
	mmio_write16(v->common + COMMON_Q_SIZE, (uint16_t)size);
	write_address(v->common + COMMON_Q_DESC, desc);
	write_address(v->common + COMMON_Q_DRIVER, avail);
	write_address(v->common + COMMON_Q_DEVICE, used);
	if (v->nr_vectors) {
		unsigned entry = q + 1 < v->nr_vectors ? q + 1 : 0;

		mmio_write16(v->common + COMMON_Q_MSIX, (uint16_t)entry);
		CHECK(mmio_read16(v->common + COMMON_Q_MSIX) == entry,
		      "device took no vector for queue %u", q);
	}
}

void virtio_queue_ready(struct virtio *v, unsigned q)
{
	queue_select(v, q);
	if (v->mmio)
		mmio_write32(v->base + MMIO_Q_READY, 1);
	else
		mmio_write16(v->common + COMMON_Q_ENABLE, 1);
}

void virtio_config(struct virtio *v, unsigned offset, void *data, unsigned len)
{
	uint8_t *p = data;

	for (unsigned i = 0; i < len; i++)
		p[i] = mmio_read8(v->config + offset + i);
}

void virtio_reset(struct virtio *v)
{
	virtio_set_status(v, 0);
	for (unsigned i = 0; virtio_status(v); i++) {
		CHECK(i < 1000000, "device %u does not reset", v->id);
		cpu_pause();
	}
}

static void interrupt(void *arg)
{
	struct virtio *v = arg;

	/* Wired interrupts are level-triggered: the source must be quiet before the EOI. */
	if (v->mmio) {
		uint32_t isr = mmio_read32(v->base + MMIO_ISR);

		mmio_write32(v->base + MMIO_ISR_ACK, isr);
	} else if (!v->nr_vectors) {
		mmio_read8(v->isr);
	}
	v->interrupted = true;
	v->interrupts++;
}

static void route_interrupt(struct virtio *v)
{
	if (!v->vector)
		v->vector = intr_alloc(interrupt, v);
	if (v->mmio) {
		intr_route(v->gsi, v->vector, false, cpu_id());
		return;
	}
	v->nr_vectors = cmdline_is("intx", "1") ? 0 : pci_msix_enable(v->pci_dev);
	for (unsigned i = 0; i < v->nr_vectors; i++)
		pci_msix_set(v->pci_dev, i, cpu_id(), v->vector);
	if (v->nr_vectors) {
		mmio_write16(v->common + COMMON_MSIX, 0);
		return;
	}
	intr_route(machine_intx_gsi(v->pci_dev), v->vector, true, cpu_id());
}

void virtio_start(struct virtio *v, uint64_t wanted)
{
	uint64_t offered;

	virtio_reset(v);
	virtio_set_status(v, VIRTIO_ACKNOWLEDGE);
	virtio_set_status(v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	offered = virtio_offered(v);
	CHECK(offered & FEATURE(VIRTIO_F_VERSION_1), "device %u is legacy", v->id);
	v->features = (offered & wanted) | FEATURE(VIRTIO_F_VERSION_1);
	virtio_accept(v, v->features);
	virtio_set_status(v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	CHECK(virtio_status(v) & VIRTIO_FEATURES_OK, "device %u refuses features 0x%llx", v->id,
	      (unsigned long long)v->features);
	route_interrupt(v);
}

void virtio_driver_ok(struct virtio *v)
{
	uint8_t all = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK;

	virtio_set_status(v, all);
	CHECK(virtio_status(v) == all, "device %u has status 0x%x after DRIVER_OK", v->id,
	      virtio_status(v));
}

uint64_t virtio_usual_features(void)
{
	uint64_t f = 0;

	if (!cmdline_is("indirect", "0"))
		f |= FEATURE(VIRTIO_F_INDIRECT_DESC);
	if (!cmdline_is("event_idx", "0"))
		f |= FEATURE(VIRTIO_F_EVENT_IDX);
	return f;
}

void virtio_wait(struct virtio *v)
{
	if (!v->interrupted)
		irq_wait();
	v->interrupted = false;
}
