/*
 * Fuzzes what a guest can reach of a virtio device without its rings: configuration space by both
 * mechanisms, the BAR wherever it has been put, doorbells. The device is the mock of the unit
 * tests. Whatever is written: no crash, no hang, and at the end nothing is left on buses or routed.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/input.h"
#include "tests/unit/mock_device.h"
#include "tests/unit/mock_driver.h"
#include "virtio/transport.h"

#define ECAM	  0xb0000000ull
#define WINDOW	  0xc0000000ull
#define BAR_BYTES 0x8000
#define MMIO	  0xd0000000ull
#define MAX_STEPS 1024

/* Mostly small or round numbers, sometimes anything. */
static uint64_t take_value(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	if (how < 128)
		return how & 0x3f;
	if (how < 192)
		return (uint64_t)(how & 0x3f) << 12;
	if (how < 200)
		return ~0ull;
	return take(in, 8);
}

static void step(struct mock_platform *mp, struct mock_device *md, struct pci_host *host,
		 struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	unsigned size = 1u << (op & 3);
	bool write = op & 4;
	gpa_t gpa;

	switch (op >> 5) {
	case 0:
	case 1:
		gpa = ECAM + (1 << 15) + (take(in, 1) & 0xff);
		break;
	case 2:
		gpa = ECAM + take(in, 3) % MIB(1);
		break;
	case 3:
	case 4: {
		struct bus_region *r = &host->fn[1]->bar[0].region;
		static const uint16_t page[] = { 0,	 0,	 0x1000, 0x2000,
						 0x3000, 0x4000, 0x4000, 0x5000 };

		gpa = r->base + page[op >> 3 & 3 ? op >> 2 & 7 : 0] + take(in, 1) % 0x48;
		break;
	}
	case 5:
		gpa = MMIO + take(in, 2) % 0x210;
		break;
	case 6:
		if (write)
			mock_pio_write(mp, 0xcf8 + (op >> 3 & 3) * 2, (uint32_t)take_value(in),
				       size > 4 ? 4 : size);
		else
			mock_pio_read(mp, 0xcf8 + (op >> 3 & 3) * 2, size > 4 ? 4 : size);
		return;
	default:
		/* What the loop would do for a doorbell, and an interrupt by another thread. */
		virtio_kick(&md->dev, op & 7);
		if (md->dev.transport)
			md->dev.transport->notify_queue(&md->dev, op & 1);
		return;
	}
	if (write)
		mock_mmio_write(mp, gpa, take_value(in), size);
	else
		mock_mmio_read(mp, gpa, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct pci_layout layout = {
		.ecam_base = ECAM,
		.ecam_bytes = MIB(1),
		.mmio_base = WINDOW,
		.mmio_bytes = MIB(1),
		.io_base = 0xc000,
		.io_bytes = 0x1000,
		.conf1 = true,
	};
	struct input in = { data, size };
	struct mock_platform mp;
	struct mock_device pci_dev, mmio_dev;
	struct pci_host host;
	struct virtio_pci *vp;
	struct virtio_mmio *vm;
	struct loop loop;

	log_set_level(LOG_ERROR);
	mock_platform_init(&mp, 0x10000, 0);
	if (pci_host_init(&host, &mp.plat, &layout) || loop_init(&loop, "fuzz"))
		abort();
	mock_device_init(&pci_dev, 1, 2, 64, &loop, &mp.plat);
	mock_device_init(&mmio_dev, 2, 2, 64, &loop, &mp.plat);
	if (virtio_pci_create(&vp, &pci_dev.dev, &host) ||
	    virtio_mmio_create(&vm, &mmio_dev.dev, MMIO, 5))
		abort();
	for (unsigned i = 0; in.left && i < MAX_STEPS; i++)
		step(&mp, i & 1 ? &pci_dev : &mmio_dev, &host, &in);

	virtio_dev_stop(&pci_dev.dev);
	virtio_dev_stop(&mmio_dev.dev);
	virtio_pci_destroy(vp);
	virtio_mmio_destroy(vm);
	pci_host_fini(&host);
	if (mp.mmio.nr || mp.pio.nr || mock_nr_doorbells(&mp) || mock_nr_routes(&mp))
		abort();
	loop_fini(&loop);
	mock_platform_fini(&mp);
	return 0;
}
