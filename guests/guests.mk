# Tiny freestanding guests: one folder each in guests/kernels, or in guests/kernels/ARCH if only that
# architecture has it; one $(BUILD)/guests/NAME.elf each, and on arm64 the NAME.img that boots.
#
# A guest is every .c and .S of its folder linked with all of guests/kernels/lib and of
# guests/kernels/ARCH/lib, whose headers are found under the same names, but for
#   first_port  its own few instructions, nothing else: it measures how fast a guest starts
#   mb          32-bit code, started by Multiboot; lib's files that compile for both are reused
#
# Ring 0 of a software-only KVM knows only general registers and plain instructions, so no SSE, no
# popcnt, nothing that needs XSAVE; debug builds of xvmm and sanitizers do not change the guests.
GUEST_DIR   := guests/kernels
GUEST_OUT   := $(BUILD)/guests
GUEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wno-unused-parameter -Wno-missing-field-initializers $(if $(WERROR),-Werror) -ffreestanding -fno-stack-protector -fno-pic \
	-fno-pie -fno-asynchronous-unwind-tables -mgeneral-regs-only \
	-fno-tree-loop-distribute-patterns -fno-strict-aliasing -I$(GUEST_DIR) -I$(GUEST_DIR)/$(ARCH) -MMD -MP
GUEST_LDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -Wl,--gc-sections
GUEST_CFLAGS_x86   := -m64 -mno-red-zone -fcf-protection=none -ffunction-sections
GUEST_CFLAGS_arm64 := -ffunction-sections -mno-outline-atomics -mbranch-protection=none
GUEST_LDS_x86      := $(GUEST_DIR)/x86/lib/pvh.ld
GUEST_LDS_arm64    := $(GUEST_DIR)/arm64/lib/image.ld
GUEST_LDS          := $(GUEST_LDS_$(ARCH))
GUEST_CFLAGS32 := $(GUEST_CFLAGS) -m32 -mno-red-zone -fcf-protection=none -march=i686
OBJCOPY := $(CROSS_COMPILE)objcopy

GUEST_ODD   := first_port mb
GUEST_FOLDERS := $(filter-out %/lib $(GUEST_DIR)/x86 $(GUEST_DIR)/arm64, \
	$(patsubst %/,%,$(wildcard $(GUEST_DIR)/*/ $(GUEST_DIR)/$(ARCH)/*/)))
GUEST_NAMES := $(notdir $(GUEST_FOLDERS))
GUEST_ELFS  := $(GUEST_NAMES:%=$(GUEST_OUT)/%.elf)
GUEST_FILES := $(GUEST_ELFS) $(if $(filter arm64,$(ARCH)),$(GUEST_ELFS:.elf=.img))

# The sources in a folder of guests/kernels; the objects of sources.
guest_srcs = $(wildcard $(GUEST_DIR)/$(1)/*.c $(GUEST_DIR)/$(1)/*.S)
guest_objs = $(patsubst $(GUEST_DIR)/%,$(GUEST_OUT)/$(2)/%.o,$(1))

GUEST_LIB_SRCS   := $(filter-out %/start_mb.S,$(call guest_srcs,lib) $(call guest_srcs,$(ARCH)/lib))
GUEST_LIB_OBJS   := $(call guest_objs,$(GUEST_LIB_SRCS),o64)
GUEST_LIB32_SRCS := $(addprefix $(GUEST_DIR)/,x86/lib/start_mb.S lib/print.c lib/string.c lib/exit.c \
	lib/cmdline.c x86/lib/ports.c x86/lib/copy.c)
GUEST_LIB32_OBJS := $(call guest_objs,$(GUEST_LIB32_SRCS),o32)

guests: $(GUEST_FILES)

$(GUEST_OUT)/o64/%.o: $(GUEST_DIR)/%
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS_$(ARCH)) -c -o $@ $<

$(GUEST_OUT)/o32/%.o: $(GUEST_DIR)/%
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS32) -c -o $@ $<

# $(1): folder below guests/kernels; $(2): name.
define guest_rule
$(GUEST_OUT)/$(2).elf: $$(call guest_objs,$$(call guest_srcs,$(1)),o64) $$(GUEST_LIB_OBJS) $$(GUEST_LDS)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(GUEST_CFLAGS_$$(ARCH)) $$(GUEST_LDFLAGS) -Wl,-T,$$(GUEST_LDS) -o $$@ $$(filter %.o,$$^)
endef
$(foreach f,$(filter-out $(GUEST_ODD:%=$(GUEST_DIR)/x86/%),$(GUEST_FOLDERS)), \
	$(eval $(call guest_rule,$(f:$(GUEST_DIR)/%=%),$(notdir $(f)))))

$(GUEST_OUT)/%.img: $(GUEST_OUT)/%.elf
	$(call say,IMG,$@)
	$(Q)$(OBJCOPY) -O binary $< $@

$(GUEST_OUT)/first_port.elf: $(call guest_objs,$(call guest_srcs,x86/first_port),o64) $(GUEST_LDS_x86)
	$(call say,LD,$@)
	$(Q)$(CC) -m64 $(GUEST_LDFLAGS) -Wl,-T,$(GUEST_LDS_x86) -o $@ $(filter %.o,$^)

$(GUEST_OUT)/mb.elf: $(call guest_objs,$(call guest_srcs,x86/mb),o32) $(GUEST_LIB32_OBJS) \
		$(GUEST_DIR)/x86/lib/mb.ld
	$(call say,LD,$@)
	$(Q)$(CC) -m32 $(GUEST_LDFLAGS) -Wl,-T,$(GUEST_DIR)/x86/lib/mb.ld -o $@ $(filter %.o,$^)

-include $(shell find $(GUEST_OUT) -name '*.d' 2>/dev/null)
