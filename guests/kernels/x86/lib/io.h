/*
 * Ports, device memory and a few instructions. Device memory is accessed with plain moves of the
 * stated width: a VMM may decode each of them.
 */
#ifndef LIB_IO_H
#define LIB_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

#define MMIO_ACCESS(bits, suffix, reg)                                                        \
	static inline uint##bits##_t mmio_read##bits(uintptr_t at)                            \
	{                                                                                     \
		uint##bits##_t v;                                                             \
		__asm__ volatile("mov" suffix " (%1), %0" : "=" reg(v) : "r"(at) : "memory"); \
		return v;                                                                     \
	}                                                                                     \
	static inline void mmio_write##bits(uintptr_t at, uint##bits##_t v)                   \
	{                                                                                     \
		__asm__ volatile("mov" suffix " %0, (%1)" : : reg(v), "r"(at) : "memory");    \
	}
MMIO_ACCESS(8, "b", "q")
MMIO_ACCESS(16, "w", "r")
MMIO_ACCESS(32, "l", "r")
#ifdef __x86_64__
MMIO_ACCESS(64, "q", "r")
#endif

/* For rings that a device shares: stores, and loads, stay in order. */
static inline void barrier(void) /* x86 does so by itself; the compiler does not */
{
	__asm__ volatile("" : : : "memory");
}

static inline void full_fence(void)
{
#ifdef __x86_64__
	__asm__ volatile("lock; addl $0, -4(%%rsp)" : : : "memory", "cc");
#else
	__asm__ volatile("lock; addl $0, -4(%%esp)" : : : "memory", "cc");
#endif
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline void cpu_halt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Waits for one interrupt: what came in before the halt is not lost, `sti` holds it back by one
 * instruction. Interrupts are off afterwards. */
static inline void irq_wait(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "0"(leaf), "2"(0));
}

#endif
