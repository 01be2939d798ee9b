# libfdt writes the device tree, zlib unpacks Image.gz.
LIBS += -lfdt -lz

# Cross-built: headers and libraries of Debian's arm64 packages, unpacked in the cache (no root
# rights, nothing installed). SYSROOT= names another place.
ifneq ($(HOSTARCH),arm64)
SYSROOT  ?= $(eval SYSROOT := $$(or $$(shell scripts/sysroot),$$(error no arm64 libraries)))$(SYSROOT)
CPPFLAGS += --sysroot=$(SYSROOT)
LDFLAGS  += --sysroot=$(SYSROOT)
endif
