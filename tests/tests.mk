# Unit tests: every tests/unit/test_NAME.c is a program of its own, linked with all of xvmm but main.
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_LIB_SRCS := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
# Of arch/x86 only x86 builds have the code; arch/arm64's that needs no KVM is tested everywhere.
ifneq ($(ARCH),x86)
UNIT_OF_X86 := $(shell grep -lE 'arch/x86|bootkit' tests/unit/*.c)
UNIT_SRCS := $(filter-out $(UNIT_OF_X86),$(UNIT_SRCS))
UNIT_LIB_SRCS := $(filter-out $(UNIT_OF_X86),$(UNIT_LIB_SRCS))
endif
UNIT_BINS := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)
UNIT_LIB  := $(UNIT_LIB_SRCS:%.c=$(BUILD)/%.o)

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_LIB) $(BUILD)/libxvmm.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(BUILD)/libxvmm.a $(LIBS) \
		$(shell $(PKGCONFIG) --libs check)

UNIT_OF_ARM64 := $(filter $(BUILD)/unit/test_arm64_%,$(UNIT_BINS))
ifneq ($(ARCH),arm64)
$(UNIT_OF_ARM64): $(patsubst %,$(BUILD)/arch/arm64/%.o,boot boot_image fdt pl031 pl061)
endif
$(UNIT_OF_ARM64): LIBS += -lfdt -lz

unit: $(UNIT_BINS)

-include $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/unit/*.c))

# Every test that this machine can run: see tests/run.
check:
	@tests/run

# Only what runs in the emulated arm64 host.
check-arm64:
	@tests/run arm64

-include guests/linux/linux.mk

# Fuzz targets: every tests/fuzz/fuzz_NAME.c (LLVMFuzzerTestOneInput) with all of xvmm, by clang.
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BINS := $(FUZZ_SRCS:tests/fuzz/%.c=$(BUILD)/bin/%)
fuzz:
	$(MAKE) CC=clang SAN=fuzzer-no-link,address,undefined BUILD=build/fuzz fuzz-bins

fuzz-bins: $(FUZZ_BINS)
$(BUILD)/bin/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(UNIT_LIB) $(BUILD)/libxvmm.a
	@mkdir -p $(@D)
	$(CC) $(CSTD) -fsanitize=fuzzer,address,undefined $(LDFLAGS) -o $@ $^ $(LIBS) \
		$(shell $(PKGCONFIG) --libs check)

ifneq ($(ARCH),arm64)
$(BUILD)/bin/fuzz_arm64_image: $(BUILD)/arch/arm64/boot_image.o
endif
$(BUILD)/bin/fuzz_arm64_image: LIBS += -lz

-include $(FUZZ_SRCS:%.c=$(BUILD)/%.d)

.PHONY: check check-arm64 fuzz fuzz-bins
.SECONDARY:
