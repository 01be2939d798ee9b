# The DSDT: dsdt.asl through the C preprocessor (for layout.h), iasl, and into a constant C array.
IASL ?= iasl

$(BUILD)/gen/dsdt.h: arch/x86/dsdt.asl arch/x86/layout.h
	@mkdir -p $(@D)
	$(CC) -E -P -x c -undef -nostdinc -I. $< -o $(BUILD)/gen/dsdt.i.asl
	$(IASL) -we -tc -p $(BUILD)/gen/dsdt $(BUILD)/gen/dsdt.i.asl \
		>$(BUILD)/gen/dsdt.log 2>&1 || { cat $(BUILD)/gen/dsdt.log >&2; \
		     echo "dsdt.asl: $(IASL) failed or is missing (package acpica-tools)" >&2; exit 1; }
	sed 's/^unsigned char /static const unsigned char /' $(BUILD)/gen/dsdt.hex >$@.tmp
	@mv $@.tmp $@

$(BUILD)/arch/x86/acpi.o: $(BUILD)/gen/dsdt.h
