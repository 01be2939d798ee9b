/*
 * Boots all CPUs that the machine has (`cpus=N`: there must be N), lets them add to one counter,
 * and sends interrupts from the first to each and back.
 */
#include "lib/clock.h"
#include "lib/smp.h"

#define ADDS	    1000u
#define ROUNDS	    5u
#define PATIENCE_US 30000000u

static volatile unsigned locked_sum, finished, pings[SMP_MAX_CPUS], pongs;
static uint8_t ap_id[SMP_MAX_CPUS], seen_id[SMP_MAX_CPUS];
static unsigned nr_aps, bsp_id, ping_vector, pong_vector;

static unsigned index_of_this(void)
{
	unsigned id = cpu_id();

	for (unsigned i = 0; i < nr_aps; i++) {
		if (ap_id[i] == id)
			return i;
	}
	return SMP_MAX_CPUS;
}

static void ping(void *arg)
{
	unsigned i = index_of_this();

	if (i < nr_aps)
		pings[i]++;
	intr_send(bsp_id, pong_vector);
}

static void pong(void *arg)
{
	pongs++;
}

static void ap_main(unsigned index, void *arg)
{
	seen_id[index] = (uint8_t)cpu_id();
	for (unsigned i = 0; i < ADDS; i++)
		__atomic_fetch_add(&locked_sum, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
	for (;;)
		irq_wait();
}

void guest_main(void)
{
	uint8_t all[SMP_MAX_CPUS];
	unsigned n = machine_cpus(all, SMP_MAX_CPUS);
	uint64_t end;

	CHECK(n <= SMP_MAX_CPUS, "%u CPUs", n);
	CHECK(n == cmdline_u64("cpus", n), "the machine has %u CPUs", n);
	intr_init();
	clock_init();
	ping_vector = intr_alloc(ping, NULL);
	pong_vector = intr_alloc(pong, NULL);
	bsp_id = cpu_id();
	for (unsigned i = 0; i < n; i++) {
		if (all[i] != bsp_id)
			ap_id[nr_aps++] = all[i];
	}
	CHECK(nr_aps + 1 == n, "the first CPU, %u, is not among them", bsp_id);
	smp_start(ap_id, nr_aps, ap_main, NULL);
	end = clock_us() + PATIENCE_US;
	while (finished < nr_aps) {
		cpu_pause();
		CHECK(clock_us() < end, "only %u of %u APs finished", finished, nr_aps);
	}
	CHECK(locked_sum == nr_aps * ADDS, "sum %u instead of %u", locked_sum, nr_aps * ADDS);
	for (unsigned i = 0; i < nr_aps; i++)
		CHECK(seen_id[i] == ap_id[i], "AP %u is CPU %u instead of %u", i, seen_id[i],
		      ap_id[i]);

	clock_tick(50000);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned i = 0; i < nr_aps; i++) {
			unsigned before = pongs;

			intr_send(ap_id[i], ping_vector);
			end = clock_us() + PATIENCE_US;
			while (pongs == before) {
				irq_wait();
				CHECK(clock_us() < end, "AP %u does not answer", i);
			}
			CHECK(pings[i] == round, "AP %u got %u interrupts instead of %u", i,
			      pings[i], round);
		}
	}
	print("smp: %u cpus, %u pongs\n", n, pongs);
}
