/*
 * The interrupt translation service, as far as MSI-X needs it; see intr.h. All messages go to the
 * first CPU. Source: Arm GIC Architecture Specification, GICv3, IHI 0069, chapter 5.
 */
#include "lib/intr.h"
#include "lib/mem.h"

#define GITS_CTLR    0x0000
#define GITS_TYPER   0x0008
#define GITS_CBASER  0x0080
#define GITS_CWRITER 0x0088
#define GITS_CREADR  0x0090
#define GITS_BASER   0x0100

#define GICR_CTLR      0x0000
#define GICR_TYPER     0x0008
#define GICR_PROPBASER 0x0070
#define GICR_PENDBASER 0x0078

#define VALID		 (1ull << 63)
#define BASER_TYPE(v)	 ((v) >> 56 & 7)
#define BASER_DEVICES	 1
#define BASER_COLLECTION 4
#define BASER_64K	 (2ull << 8)
#define CACHED		 (7ull << 59) /* and shareable, below */
#define SHARED		 (1ull << 10)
#define TABLE_BYTES	 0x10000
#define QUEUE_BYTES	 0x10000
#define LPI_BITS	 14   /* interrupt IDs up to 16383 */
#define LPI_CONFIG	 0xa1 /* priority 0xa0, enabled */
#define MAX_DEVICES	 32
#define EVENT_BITS	 6
#define ITT_BYTES	 (8u << EVENT_BITS)

enum { CMD_SYNC = 5, CMD_MAPD = 8, CMD_MAPC = 9, CMD_MAPTI = 10, CMD_INV = 12 };

struct command {
	uint64_t word[4];
};

static struct command *queue;
static unsigned queue_at;
static uint64_t target; /* of the first CPU's redistributor, as commands name it */
static bool mapped[MAX_DEVICES];
static unsigned next_lpi = INTID_LPI;

static void send(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t next;

	queue[queue_at] = (struct command){ { a, b, c, 0 } };
	queue_at = (queue_at + 1) % (QUEUE_BYTES / sizeof(struct command));
	next = queue_at * sizeof(struct command);
	mmio_write64(ITS_BASE + GITS_CWRITER, next);
	for (unsigned i = 0; mmio_read64(ITS_BASE + GITS_CREADR) != next; i++)
		CHECK(i < 1000000, "the ITS does not take a command");
}

static void sync(void)
{
	send(CMD_SYNC, 0, target);
}

static void start(void)
{
	uintptr_t r = GICR_BASE + (uintptr_t)cpu_id() * GICR_STEP;
	uint8_t *config = mem_alloc(TABLE_BYTES, TABLE_BYTES);

	memset(config, LPI_CONFIG, (1u << LPI_BITS) - INTID_LPI);
	mmio_write64(r + GICR_PROPBASER, (uintptr_t)config | (LPI_BITS - 1) | SHARED | 7 << 7);
	mmio_write64(r + GICR_PENDBASER,
		     (uintptr_t)mem_alloc(TABLE_BYTES, TABLE_BYTES) | SHARED | 7 << 7);
	mmio_write32(r + GICR_CTLR, 1);

	for (unsigned i = 0; i < 8; i++) {
		uintptr_t at = ITS_BASE + GITS_BASER + 8 * i;
		uint64_t type = BASER_TYPE(mmio_read64(at));

		if (type == BASER_DEVICES || type == BASER_COLLECTION)
			mmio_write64(at, (uintptr_t)mem_alloc(TABLE_BYTES, TABLE_BYTES) | VALID |
						 CACHED | SHARED | BASER_64K);
	}
	queue = mem_alloc(QUEUE_BYTES, TABLE_BYTES);
	mmio_write64(ITS_BASE + GITS_CBASER,
		     (uintptr_t)queue | VALID | CACHED | SHARED | (QUEUE_BYTES / 4096 - 1));
	mmio_write64(ITS_BASE + GITS_CWRITER, 0);
	mmio_write32(ITS_BASE + GITS_CTLR, 1);
	if (mmio_read64(ITS_BASE + GITS_TYPER) & 1 << 19) /* by address, else by number */
		target = r;
	else
		target = (mmio_read64(r + GICR_TYPER) >> 8 & 0xffff) << 16;
	send(CMD_MAPC, 0, VALID | target); /* collection 0 */
	sync();
}

unsigned its_map(unsigned devid, unsigned event, unsigned vector)
{
	unsigned lpi = next_lpi++, dev = devid >> 3;

	if (!queue)
		start();
	CHECK(dev < MAX_DEVICES && event < 1u << EVENT_BITS, "no event %u of device %u", event,
	      devid);
	if (!mapped[dev]) {
		send(CMD_MAPD | (uint64_t)devid << 32, EVENT_BITS - 1,
		     VALID | (uintptr_t)mem_alloc(ITT_BYTES, 256));
		mapped[dev] = true;
	}
	intr_map_lpi(lpi, vector);
	send(CMD_MAPTI | (uint64_t)devid << 32, event | (uint64_t)lpi << 32, 0);
	send(CMD_INV | (uint64_t)devid << 32, event, 0);
	sync();
	return lpi;
}
