/*
 * An arbitrary file as an arm64 kernel: it is loaded, or refused with a reason; nothing else
 * happens. libFuzzer; the first byte chooses the memory's size, and whether the rest is packed by
 * gzip before it is used, so that what is in a stream gets its turn too.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "arch/arm64/boot_image.h"
#include "arch/arm64/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int write_packed(int fd, const uint8_t *data, size_t size)
{
	static uint8_t out[1 << 16];
	z_stream z = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size };
	int rc;

	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -1;
	do {
		z.next_out = out;
		z.avail_out = sizeof(out);
		rc = deflate(&z, Z_FINISH);
		if (write(fd, out, sizeof(out) - z.avail_out) < 0)
			break;
	} while (rc == Z_OK);
	deflateEnd(&z);
	return rc == Z_STREAM_END ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmem_layout layout = { .base = ARM64_RAM_BASE };
	struct boot_image image;
	struct image file;
	struct gmem mem;
	char path[32], why[256] = "";
	uint8_t choice;
	int fd, err;

	if (size == 0)
		return 0;
	choice = *data++;
	size--;
	fd = memfd_create("kernel", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	if (choice & 1 ? write_packed(fd, data, size) : write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	layout.size_bytes = choice & 2 ? MIB(4) : MIB(64);
	if (gmem_create(&mem, "fuzz", &layout, 1, 0) || image_open(&file, path))
		abort();
	err = boot_image_load(&file, &mem, &image, why, sizeof(why));
	if (err == 0) {
		if (!image.protocol || image.end <= image.entry ||
		    !gmem_ptr(&mem, image.entry, image.end - image.entry))
			abort();
	} else if (err > 0 || !memchr(why, '\0', sizeof(why)) || why[0] == '\0') {
		abort();
	}
	image_close(&file);
	gmem_destroy(&mem);
	close(fd);
	return 0;
}
