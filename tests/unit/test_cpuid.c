/* CPUID of a vCPU, made from tables as KVM gives them: what a guest must find in it. */
#include <check.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/cpuid.h"

#define MAX 64

static struct kvm_cpuid_entry2 table[MAX];
static uint32_t nr;

static void add(uint32_t function, uint32_t index, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	ck_assert_uint_lt(nr, MAX);
	table[nr++] = (struct kvm_cpuid_entry2){
		.function = function, .index = index, .eax = a, .ebx = b, .ecx = c, .edx = d
	};
}

/* A host of 2 sockets x 12 cores x 2 threads. */
static void intel(void)
{
	nr = 0;
	add(0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
	add(1, 0, 0x806f8, 0x07180800, 0x00000001, 0x10000001);
	add(4, 0, 0x2c000121, 1, 2, 3);
	add(4, 3, 0x2c07c163, 1, 2, 3);
	add(4, 4, 0, 0, 0, 0);
	add(6, 0, 4, 0, 1, 0);
	add(0xb, 0, 1, 2, 0x100, 7);
	add(0xb, 1, 5, 24, 0x201, 7);
	add(0x1f, 0, 1, 2, 0x100, 7);
	add(0x40000000, 0, 0x40000001, 1, 2, 3);
	add(0x80000001, 0, 0, 0, 0x121, 0);
	add(0x80000008, 0, 0x3028, 0, 0, 0);
}

static void amd(void)
{
	nr = 0;
	add(0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
	add(1, 0, 0xa20f12, 0x07180800, 0x00000001, 0x10000001);
	add(0x80000001, 0, 0, 0, 0x400002, 0);
	add(0x80000008, 0, 0x3030, 0, 0x701f, 0);
	add(0x8000001d, 0, 0x4121, 1, 2, 3);
	add(0x8000001d, 3, 0x3c163, 1, 2, 3);
	add(0x8000001e, 0, 7, 0x103, 0x001, 0);
	add(0x80000026, 0, 1, 2, 0x100, 7);
}

static void make(unsigned index, unsigned cpus)
{
	nr = cpuid_for_vcpu(table, nr, MAX, index, cpus, true);
}

static const struct kvm_cpuid_entry2 *find(uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < nr; i++) {
		if (table[i].function == function && table[i].index == index) {
			ck_assert_ptr_null(found); /* each once */
			found = &table[i];
		}
	}
	return found;
}

static const struct kvm_cpuid_entry2 *get(uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *e = find(function, index);

	ck_assert_ptr_nonnull(e);
	return e;
}

static const struct {
	unsigned cpus, bits;
} sizes[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 64, 6 }, { 65, 7 }, { 255, 8 } };

#define NR_SIZES ((int)(sizeof(sizes) / sizeof(sizes[0])))

START_TEST(extended_topology)
{
	unsigned cpus = sizes[_i].cpus;

	for (uint32_t function = 0xb; function; function = function == 0xb ? 0x1f : 0) {
		intel();
		make(cpus - 1, cpus);
		ck_assert_uint_eq(get(function, 0)->eax, 0);
		ck_assert_uint_eq(get(function, 0)->ebx, 1);
		ck_assert_uint_eq(get(function, 0)->ecx, 0x100); /* threads */
		ck_assert_uint_eq(get(function, 1)->eax, sizes[_i].bits);
		ck_assert_uint_eq(get(function, 1)->ebx, cpus);
		ck_assert_uint_eq(get(function, 1)->ecx, 0x201); /* cores */
		ck_assert_uint_eq(get(function, 2)->ebx, 0);
		ck_assert_uint_eq(get(function, 2)->ecx, 2); /* the end */
		for (uint32_t level = 0; level < 3; level++) {
			ck_assert_uint_eq(get(function, level)->edx, cpus - 1);
			ck_assert_uint_eq(get(function, level)->flags,
					  KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		}
	}
	/* Every APIC id fits, and in no fewer bits than are said. */
	ck_assert_uint_ge(1u << sizes[_i].bits, cpus);
	ck_assert(sizes[_i].bits == 0 || 1u << (sizes[_i].bits - 1) < cpus);
}
END_TEST

START_TEST(basic_topology)
{
	unsigned cpus = sizes[_i].cpus;

	for (unsigned index = 0; index < cpus; index++) {
		intel();
		make(index, cpus);
		ck_assert_uint_eq(get(1, 0)->ebx >> 24, index);
		ck_assert_uint_eq(get(1, 0)->ebx >> 16 & 0xff, cpus);
		ck_assert_uint_eq(get(1, 0)->ebx & 0xffff, 0x0800);
		ck_assert_uint_eq(get(1, 0)->edx >> 28 & 1, cpus > 1);
	}
}
END_TEST

START_TEST(caches_are_not_shared)
{
	intel();
	make(1, 3);
	ck_assert_uint_eq(get(4, 0)->eax, 3u << 26 | 0x121);
	ck_assert_uint_eq(get(4, 3)->eax, 3u << 26 | 0x163);
	ck_assert_uint_eq(get(4, 4)->eax, 0); /* the end stays the end */
	ck_assert_uint_eq(get(4, 3)->ebx, 1);
	amd();
	make(1, 3);
	ck_assert_uint_eq(get(0x8000001d, 0)->eax, 0x121);
	ck_assert_uint_eq(get(0x8000001d, 3)->eax, 0x163);
}
END_TEST

START_TEST(amd_topology)
{
	unsigned cpus = sizes[_i].cpus;

	amd();
	make(cpus - 1, cpus);
	ck_assert_uint_eq(get(0x80000008, 0)->ecx, sizes[_i].bits << 12 | (cpus - 1));
	ck_assert_uint_eq(get(0x80000008, 0)->eax, 0x3030);
	ck_assert_uint_eq(get(0x80000001, 0)->ecx, cpus > 1 ? 0x400002 : 0x400000);
	ck_assert_uint_eq(get(0x8000001e, 0)->eax, cpus - 1);
	ck_assert_uint_eq(get(0x8000001e, 0)->ebx, cpus - 1); /* one thread per core */
	ck_assert_uint_eq(get(0x8000001e, 0)->ecx, 0);	      /* one node */
	ck_assert_ptr_null(find(0x80000026, 0));
	/* What the host does not have is not made up. */
	ck_assert_ptr_null(find(0xb, 0));
	ck_assert_ptr_null(find(0x1f, 0));
}
END_TEST

START_TEST(features)
{
	intel();
	make(0, 1);
	ck_assert_uint_eq(get(1, 0)->ecx, 1u << 31 | 1u << 24 | 1); /* hypervisor, TSC deadline */
	ck_assert_uint_eq(get(6, 0)->ecx, 0);
	ck_assert_uint_eq(get(0x40000000, 0)->eax, 0x40000001); /* KVM's own, untouched */
	ck_assert_uint_eq(get(0x80000008, 0)->ecx, 0);		/* reserved on this one */
	ck_assert_uint_eq(get(0x80000001, 0)->ecx, 0x121);
	intel();
	nr = cpuid_for_vcpu(table, nr, MAX, 0, 1, false);
	ck_assert_uint_eq(get(1, 0)->ecx, 1u << 31 | 1);
}
END_TEST

START_TEST(never_beyond_the_room)
{
	intel();
	/* 3 topology entries go; 6 would come. */
	ck_assert_uint_eq(cpuid_for_vcpu(table, nr, nr, 0, 2, true), nr);
	ck_assert_uint_eq(cpuid_for_vcpu(table, 0, 0, 0, 2, true), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuid");
	TCase *tc = tcase_create("tables");
	SRunner *r;
	int failed;

	tcase_add_loop_test(tc, extended_topology, 0, NR_SIZES);
	tcase_add_loop_test(tc, basic_topology, 0, NR_SIZES);
	tcase_add_test(tc, caches_are_not_shared);
	tcase_add_loop_test(tc, amd_topology, 0, NR_SIZES);
	tcase_add_test(tc, features);
	tcase_add_test(tc, never_beyond_the_room);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
