# Tiny freestanding guests: one folder each in guests/kernels, one $(BUILD)/guests/NAME.elf each.
#
# A guest is every .c and .S of its folder linked with all of guests/kernels/lib, but for
#   first_port  its own few instructions, nothing else: it measures how fast a guest starts
#   mb          32-bit code, started by Multiboot; lib's files that compile for both are reused
#
# Ring 0 of a software-only KVM knows only general registers and plain instructions, so no SSE, no
# popcnt, nothing that needs XSAVE; debug builds of xvmm and sanitizers do not change the guests.
ifeq ($(ARCH),x86)

GUEST_DIR   := guests/kernels
GUEST_OUT   := $(BUILD)/guests
GUEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wno-unused-parameter -Wno-missing-field-initializers $(if $(WERROR),-Werror) -ffreestanding -fno-stack-protector -fno-pic \
	-fno-pie -fcf-protection=none -fno-asynchronous-unwind-tables -mgeneral-regs-only \
	-mno-red-zone -fno-tree-loop-distribute-patterns -fno-strict-aliasing -I$(GUEST_DIR) -MMD -MP
GUEST_LDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -Wl,--gc-sections
GUEST_CFLAGS64 := $(GUEST_CFLAGS) -m64 -ffunction-sections
GUEST_CFLAGS32 := $(GUEST_CFLAGS) -m32 -march=i686

GUEST_ODD   := first_port mb
GUEST_NAMES := $(filter-out lib,$(patsubst $(GUEST_DIR)/%/,%,$(wildcard $(GUEST_DIR)/*/)))
GUEST_ELFS  := $(GUEST_NAMES:%=$(GUEST_OUT)/%.elf)

guest_srcs = $(wildcard $(GUEST_DIR)/$(1)/*.c $(GUEST_DIR)/$(1)/*.S)
guest_objs = $(patsubst $(GUEST_DIR)/%,$(GUEST_OUT)/$(2)/%.o,$(1))

GUEST_LIB_SRCS   := $(filter-out %/start_mb.S,$(call guest_srcs,lib))
GUEST_LIB_OBJS   := $(call guest_objs,$(GUEST_LIB_SRCS),o64)
GUEST_LIB32_SRCS := $(GUEST_DIR)/lib/start_mb.S $(GUEST_DIR)/lib/print.c $(GUEST_DIR)/lib/string.c \
	$(GUEST_DIR)/lib/exit.c $(GUEST_DIR)/lib/cmdline.c
GUEST_LIB32_OBJS := $(call guest_objs,$(GUEST_LIB32_SRCS),o32)

guests: $(GUEST_ELFS)

$(GUEST_OUT)/o64/%.o: $(GUEST_DIR)/%
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS64) -c -o $@ $<

$(GUEST_OUT)/o32/%.o: $(GUEST_DIR)/%
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS32) -c -o $@ $<

define guest_rule
$(GUEST_OUT)/$(1).elf: $$(call guest_objs,$$(call guest_srcs,$(1)),o64) $$(GUEST_LIB_OBJS) \
		$$(GUEST_DIR)/lib/pvh.ld
	$$(call say,LD,$$@)
	$$(Q)$$(CC) -m64 $$(GUEST_LDFLAGS) -Wl,-T,$$(GUEST_DIR)/lib/pvh.ld -o $$@ $$(filter %.o,$$^)
endef
$(foreach g,$(filter-out $(GUEST_ODD),$(GUEST_NAMES)),$(eval $(call guest_rule,$(g))))

$(GUEST_OUT)/first_port.elf: $(call guest_objs,$(call guest_srcs,first_port),o64) \
		$(GUEST_DIR)/lib/pvh.ld
	$(call say,LD,$@)
	$(Q)$(CC) -m64 $(GUEST_LDFLAGS) -Wl,-T,$(GUEST_DIR)/lib/pvh.ld -o $@ $(filter %.o,$^)

$(GUEST_OUT)/mb.elf: $(call guest_objs,$(call guest_srcs,mb),o32) $(GUEST_LIB32_OBJS) \
		$(GUEST_DIR)/lib/mb.ld
	$(call say,LD,$@)
	$(Q)$(CC) -m32 $(GUEST_LDFLAGS) -Wl,-T,$(GUEST_DIR)/lib/mb.ld -o $@ $(filter %.o,$^)

-include $(shell find $(GUEST_OUT) -name '*.d' 2>/dev/null)

else
guests:
endif
