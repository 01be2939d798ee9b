# xvmm: see README.md.  make [SAN=address,undefined|thread] [ARCH=x86|arm64] [BUILD=dir]

HOSTARCH := $(shell uname -m | sed -e 's/x86_64/x86/' -e 's/aarch64/arm64/')
ARCH     ?= $(HOSTARCH)
CC       := $(CROSS_COMPILE)gcc
AR       := $(CROSS_COMPILE)ar
PKGCONFIG ?= pkg-config
PREFIX   ?= /usr/local
DESTDIR  ?=

empty :=
comma := ,
SANNAME := $(subst $(comma),-,$(SAN))
BUILD   ?= build$(if $(SAN),/san-$(SANNAME))$(if $(filter-out $(HOSTARCH),$(ARCH)),/$(ARCH))

VERSION := 0.1.0

CFLAGS   ?= -O2 -g
CSTD     := -std=c11 -D_GNU_SOURCE -pthread
WARN     := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wundef \
	    -Wpointer-arith -Wno-unused-parameter -Wimplicit-fallthrough $(if $(WERROR),-Werror)
CPPFLAGS += -I. -I$(BUILD)/gen -DXVMM_VERSION='"$(VERSION)"'
ifneq ($(SAN),)
# gcc 12 sees overreads that are none in instrumented code.
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined \
	    $(if $(findstring clang,$(CC)),,-Wno-stringop-overread)
endif
LIBS     := -linih -ljansson
# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

ALL_CFLAGS = $(CSTD) $(WARN) $(CPPFLAGS) $(CFLAGS) $(SANFLAGS) -MMD -MP

SRCS := $(wildcard base/*.c nic/*.c vmm/*.c virtio/*.c xtalk/*.c arch/$(ARCH)/*.c)
OBJS := $(SRCS:%.c=$(BUILD)/%.o)

.PHONY: all clean check demo bench install unit guests setup
all: $(BUILD)/xvmm

$(BUILD)/xvmm: $(BUILD)/main.o $(BUILD)/libxvmm.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libxvmm.a: $(OBJS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Parts with rules of their own.
-include arch/$(ARCH)/arch.mk guests/guests.mk tests/tests.mk tests/bench/bench.mk scripts/install.mk

clean:
	rm -rf build

-include $(OBJS:.o=.d) $(BUILD)/main.d
