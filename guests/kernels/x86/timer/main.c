/*
 * Every source of time and wired interrupts: local APIC timer, PIT and COM1 through the IOAPIC, the
 * PM timer, the RTC, and kvmclock where the hypervisor is KVM.
 *
 *   kvmclock=1  it must be there       pit=0  there is none
 */
#include "lib/acpi.h"
#include "lib/clock.h"

#define KVM_FEATURE_CLOCKSOURCE2 3
#define MSR_KVM_WALL_CLOCK_NEW	 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW	 0x4b564d01
#define UNIX_2020		 1577836800u
#define PATIENCE_US		 20000000u

struct pvclock {
	volatile uint32_t version, pad0;
	volatile uint64_t tsc_timestamp, system_time;
	volatile uint32_t tsc_to_system_mul;
	volatile int8_t tsc_shift;
	volatile uint8_t flags, pad[2];
};

static struct pvclock pvclock __attribute__((aligned(64)));
static volatile struct {
	uint32_t version, sec, nsec;
} wall __attribute__((aligned(64)));
static volatile unsigned lapic_count, pit_count, com1_count;

static void count(void *arg)
{
	++*(volatile unsigned *)arg;
}

static void com1_interrupt(void *arg)
{
	inb(PORT_COM1 + 2); /* reading IIR takes the transmitter's interrupt back */
	com1_count++;
}

static void wait_for(volatile unsigned *counter, unsigned n, const char *what)
{
	uint64_t end = clock_us() + PATIENCE_US;

	while (*counter < n) {
		irq_wait(); /* the tick ends it, at the latest */
		CHECK(clock_us() < end, "%s: %u interrupts instead of %u", what, *counter, n);
	}
}

static void test_lapic(void)
{
	unsigned v = intr_alloc(count, (void *)&lapic_count);
	uint64_t start;

	/* One-shot: comes once, not early, and wakes from a halt. */
	start = clock_us();
	lapic_timer(v, clock_lapic_ticks(20000), false);
	while (!lapic_count)
		irq_wait();
	CHECK(clock_us() - start >= 10000, "one-shot timer of 20 ms fired after %lu us",
	      (unsigned long)(clock_us() - start));
	CHECK(lapic_count == 1, "one-shot timer fired %u times", lapic_count);

	lapic_count = 0;
	lapic_timer(v, clock_lapic_ticks(5000), true);
	while (lapic_count < 10)
		irq_wait();
	clock_tick(50000);
	print("lapic timer: ok\n");
}

static void test_pit(void)
{
	unsigned v = intr_alloc(count, (void *)&pit_count), gsi = acpi_isa_gsi(0);

	ioapic_route(gsi, v, false, lapic_id());
	outb(0x43, 0x34); /* channel 0, mode 2: 100 Hz */
	outb(0x40, 11932 & 0xff);
	outb(0x40, 11932 >> 8);
	wait_for(&pit_count, 5, "PIT");
	ioapic_mask(gsi);
	print("pit: ok on pin %u\n", gsi);
}

static void test_com1(void)
{
	unsigned v = intr_alloc(com1_interrupt, NULL), gsi = acpi_isa_gsi(4);

	ioapic_route(gsi, v, false, lapic_id());
	outb(PORT_COM1 + 4, 0x0b); /* OUT2: gates the interrupt on a PC */
	for (unsigned i = 1; i <= 3; i++) {
		outb(PORT_COM1 + 1, 0x02); /* transmitter empty: at once */
		wait_for(&com1_count, i, "COM1");
		outb(PORT_COM1 + 1, 0);
	}
	ioapic_mask(gsi);
	print("com1 interrupt: ok\n");
}

static void test_rtc(void)
{
	unsigned month, day;

	outb(0x70, 0x0d);
	CHECK(inb(0x71) & 0x80, "RTC says its battery is dead");
	outb(0x70, 8);
	month = inb(0x71);
	outb(0x70, 7);
	day = inb(0x71);
	CHECK(month >= 1 && month <= 0x12 && day >= 1 && day <= 0x31, "RTC month %x, day %x", month,
	      day);
	print("rtc: ok\n");
}

static uint64_t kvmclock_ns(void)
{
	uint64_t t, delta;
	uint32_t version;

	do {
		version = pvclock.version;
		barrier();
		delta = rdtsc() - pvclock.tsc_timestamp;
		if (pvclock.tsc_shift >= 0)
			delta <<= pvclock.tsc_shift;
		else
			delta >>= -pvclock.tsc_shift;
		t = pvclock.system_time +
		    (uint64_t)((unsigned __int128)delta * pvclock.tsc_to_system_mul >> 32);
		barrier();
	} while (version & 1 || version != pvclock.version);
	return t;
}

static void test_kvmclock(void)
{
	uint32_t r[4];
	uint64_t a, b, us;

	cpuid(0x40000000, r);
	if (r[1] != 0x4b4d564b) { /* "KVMK" */
		CHECK(!cmdline_is("kvmclock", "1"), "CPUID 0x40000000 does not say KVM");
		print("kvmclock: not on this hypervisor\n");
		return;
	}
	cpuid(0x40000001, r);
	CHECK(r[0] & 1 << KVM_FEATURE_CLOCKSOURCE2, "KVM offers no kvmclock: features 0x%x", r[0]);
	wrmsr(MSR_KVM_WALL_CLOCK_NEW, (uintptr_t)&wall);
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uintptr_t)&pvclock | 1);
	CHECK(pvclock.version && !(pvclock.version & 1) && pvclock.tsc_to_system_mul,
	      "kvmclock was not filled in");
	a = kvmclock_ns();
	us = clock_us();
	clock_wait_us(5000);
	b = kvmclock_ns();
	us = clock_us() - us;
	/* Both come from the TSC; the PM timer's measure of it may be off by a lot on a busy host.
	 */
	CHECK(b > a && (b - a) / 1000 < us * 4 + 1000 && (b - a) / 1000 > us / 4,
	      "kvmclock went on %lu us in %lu us", (unsigned long)((b - a) / 1000),
	      (unsigned long)us);
	CHECK(wall.sec > UNIX_2020, "wall clock says %u s", wall.sec);
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
	print("kvmclock: ok\n");
}

void guest_main(void)
{
	intr_init();
	clock_init();
	print("pm timer: ok, tsc %lu kHz\n", (unsigned long)clock_tsc_per_ms());
	test_lapic();
	if (!cmdline_is("pit", "0"))
		test_pit();
	test_com1();
	test_rtc();
	test_kvmclock();
}
