/*
 * Linux' arm64 kernel image, plain or compressed, into guest memory. Nothing that the file says is
 * believed. Compiled for any host, so that hostile files can be tried everywhere.
 */
#ifndef ARCH_ARM64_BOOT_IMAGE_H
#define ARCH_ARM64_BOOT_IMAGE_H

#include "base/gmem.h"
#include "base/image.h"

struct boot_image {
	gpa_t entry;	      /* first byte of the image, which is its first instruction */
	gpa_t end;	      /* of all that the kernel needs, zeroed data included */
	const char *protocol; /* "Linux Image", "Linux Image.gz", …: for log lines */
};

/*
 * Loads the kernel to where its header wants it, in the first region of `mem` (fresh, zeroed). On
 * error why[] says what is wrong with the file. Errors: -ENOEXEC (no kernel that we know, damaged
 * or truncated), -E2BIG (too big for the guest's memory), -ENOMEM, errno of pread.
 */
int boot_image_load(const struct image *file, const struct gmem *mem, struct boot_image *out,
		    char *why, size_t why_bytes);

#endif
