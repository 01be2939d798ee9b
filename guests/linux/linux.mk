# What Linux guests boot from: a stock Debian kernel and a busybox initramfs. Not part of `all`: the
# kernel has to be downloaded.
guests-linux:
	guests/linux/build

# Tools for the initramfs: static, a guest has no libraries.
$(BUILD)/linux-tools/%: guests/linux/tools/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CSTD) $(WARN) $(CFLAGS) -static -s -o $@ $<

linux-tools: $(patsubst guests/linux/tools/%.c,$(BUILD)/linux-tools/%,$(wildcard guests/linux/tools/*.c))

demo:
	@scripts/demo

.PHONY: guests-linux linux-tools
