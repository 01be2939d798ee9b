# What Linux guests boot from: a stock Debian kernel and a busybox initramfs. Not part of `all`: the
# kernel has to be downloaded.
guests-linux:
	guests/linux/build

demo:
	@scripts/demo

.PHONY: guests-linux
