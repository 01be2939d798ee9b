/*
 * Device memory and a few instructions. Device memory is accessed with plain loads and stores of
 * the stated width and a simple address: the processor tells a VMM all about these, and nothing
 * about others.
 */
#ifndef LIB_IO_H
#define LIB_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A read is complete before what follows, a write comes after what was written to memory before:
 * what the device is told of is there. */
#define MMIO_ACCESS(bits, suffix, reg)                                      \
	static inline uint##bits##_t mmio_read##bits(uintptr_t at)          \
	{                                                                   \
		uint##bits##_t v;                                           \
		__asm__ volatile("ldr" suffix " %" reg "0, [%1]\n\tdsb sy"  \
				 : "=r"(v)                                  \
				 : "r"(at)                                  \
				 : "memory");                               \
		return v;                                                   \
	}                                                                   \
	static inline void mmio_write##bits(uintptr_t at, uint##bits##_t v) \
	{                                                                   \
		__asm__ volatile("dsb sy\n\tstr" suffix " %" reg "0, [%1]"  \
				 :                                          \
				 : "r"(v), "r"(at)                          \
				 : "memory");                               \
	}
MMIO_ACCESS(8, "b", "w")
MMIO_ACCESS(16, "h", "w")
MMIO_ACCESS(32, "", "w")
MMIO_ACCESS(64, "", "x")

/* For rings that a device shares: stores, and loads, stay in order. */
static inline void barrier(void)
{
	__asm__ volatile("dmb ish" : : : "memory");
}

static inline void full_fence(void)
{
	__asm__ volatile("dmb ish" : : : "memory");
}

static inline void cpu_pause(void)
{
	__asm__ volatile("yield" : : : "memory");
}

static inline void cpu_halt(void)
{
	__asm__ volatile("dsb sy\n\twfi" : : : "memory");
}

static inline void irq_enable(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

/* Waits for one interrupt: what came in before is not lost, as `wfi` ends while one is pending,
 * masked or not. Interrupts are off afterwards. */
static inline void irq_wait(void)
{
	__asm__ volatile("dsb sy\n\twfi\n\tmsr daifclr, #2\n\tisb\n\tmsr daifset, #2"
			 :
			 :
			 : "memory");
}

#define read_sysreg(name)                                                  \
	({                                                                 \
		uint64_t v_;                                               \
		__asm__ volatile("mrs %0, " name : "=r"(v_) : : "memory"); \
		v_;                                                        \
	})
#define write_sysreg(name, v) \
	__asm__ volatile("msr " name ", %0\n\tisb" : : "r"((uint64_t)(v)) : "memory")

#endif
