/*
 * The arm64 kernel image: see boot_image.h. Used on the thread that creates the machine; no locks.
 *
 * Three kinds of file hold one: the Image itself, Image.gz, and the EFI "zboot" file, a gzip-packed
 * Image behind an EFI program. All are read as one stream of the Image's bytes.
 *
 * Source: Linux' Documentation/arm64/booting.rst; the zboot header's comment in
 * drivers/firmware/efi/libstub/zboot-header.S; Microsoft's PE format.
 */
#include "arch/arm64/boot_image.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define IN_BYTES	 65536
#define GZIP_WINDOW_BITS (15 + 16) /* gzip's header and trailer, checked */

#define TEXT_OFFSET_END MIB(2) /* exclusive */
#define PAGE_BYTES	4096

/* The first 64 bytes of an Image. */
struct header {
	uint32_t code[2];
	uint64_t text_offset, image_size, flags;
	uint64_t reserved[3];
	char magic[4];
	uint32_t pe_offset;
};
_Static_assert(sizeof(struct header) == 64, "arm64 Image header");
#define FLAG_BIG_ENDIAN 1

/* The bytes of an Image, from front to back. */
struct source {
	const struct image *file;
	uint64_t offset, left; /* what has not been read of the file, or of the part that counts */
	bool packed, ended;
	z_stream z;
	uint8_t in[IN_BYTES];
};

static const struct {
	unsigned offset, len;
	char bytes[8], hint[48]; /* arrays, so that the table needs no relocation */
} known_wrong[] = {
	{ 0, 6,
	  "\xFD"
	  "7zXZ",
	  "an xz file: unpack it first" },
	{ 0, 4, "\x28\xB5\x2F\xFD", "a Zstandard file: unpack it first" },
	{ 0, 6, "070701", "a cpio archive: an initrd, not a kernel" },
	{ 0, 4, "\177ELF", "an ELF file: give the arm64 Image (vmlinuz)" },
	{ 0x202, 4, "HdrS", "a Linux kernel for x86, not arm64" },
};

static const char *describe(const uint8_t *head, size_t len)
{
	if (len == 0)
		return "the file is empty";
	for (unsigned i = 0; i < ARRAY_SIZE(known_wrong); i++) {
		if (known_wrong[i].offset + known_wrong[i].len <= len &&
		    !memcmp(head + known_wrong[i].offset, known_wrong[i].bytes, known_wrong[i].len))
			return known_wrong[i].hint;
	}
	return "not an arm64 Linux Image (nor one packed by gzip)";
}

__attribute__((format(printf, 5, 6))) static int refuse(const struct image *file, char *why,
							size_t bytes, int err, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(why, bytes, "%s: ", file->path);

	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < bytes)
		vsnprintf(why + n, bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return err;
}

/* The next piece of the file into the buffer. Returns how much, or -errno. */
static int64_t fill(struct source *s)
{
	uint64_t n = s->left < IN_BYTES ? s->left : IN_BYTES;
	int rc = image_read(s->file, s->offset, s->in, n);

	if (rc)
		return rc;
	s->offset += n;
	s->left -= n;
	return (int64_t)n;
}

static int64_t unpack(struct source *s, uint8_t *dst, uint64_t len)
{
	uint64_t done = 0;

	while (done < len && !s->ended) {
		uint64_t want = len - done < (1u << 30) ? len - done : 1u << 30;
		int rc;

		if (!s->z.avail_in) {
			int64_t n = fill(s);

			if (n < 0)
				return n;
			if (n == 0)
				return -ENODATA; /* the stream ends before its end */
			s->z.next_in = s->in;
			s->z.avail_in = (uInt)n;
		}
		s->z.next_out = dst + done;
		s->z.avail_out = (uInt)want;
		rc = inflate(&s->z, Z_NO_FLUSH);
		done += want - s->z.avail_out;
		if (rc == Z_STREAM_END)
			s->ended = true;
		else if (rc == Z_MEM_ERROR)
			return -ENOMEM;
		else if (rc != Z_OK && rc != Z_BUF_ERROR)
			return -EILSEQ;
	}
	return (int64_t)done;
}

/* Reads at most len bytes, fewer only at the end. */
static int64_t source_read(struct source *s, void *dst, uint64_t len)
{
	int rc;

	if (s->packed)
		return unpack(s, dst, len);
	if (len > s->left)
		len = s->left;
	rc = image_read(s->file, s->offset, dst, len);
	if (rc)
		return rc;
	s->offset += len;
	s->left -= len;
	return (int64_t)len;
}

/* What kind of file is it? */
static int source_open(struct source *s, const struct image *file, const char **protocol, char *why,
		       size_t bytes)
{
	uint8_t head[0x206] = { 0 };
	uint64_t len = file->size_bytes < sizeof(head) ? file->size_bytes : sizeof(head);
	uint32_t at, size;
	int rc;

	*s = (struct source){ .file = file, .left = file->size_bytes };
	rc = image_read(file, 0, head, len);
	if (rc)
		return refuse(file, why, bytes, rc, "%s", strerror(-rc));
	*protocol = "Linux Image";
	if (len >= 2 && head[0] == 0x1f && head[1] == 0x8b) {
		s->packed = true;
		*protocol = "Linux Image.gz";
	} else if (len >= 64 && !memcmp(head, "MZ\0\0zimg", 8)) {
		if (memcmp(head + 24, "gzip", 5))
			return refuse(file, why, bytes, -ENOEXEC,
				      "an EFI kernel packed by something else than gzip: unpack it "
				      "first");
		memcpy(&at, head + 8, 4);
		memcpy(&size, head + 12, 4);
		s->offset = le32toh(at);
		s->left = le32toh(size);
		if (!image_covers(file, s->offset, s->left))
			return refuse(file, why, bytes, -ENOEXEC, "truncated");
		s->packed = true;
		*protocol = "Linux EFI Image";
	} else if (len < sizeof(struct header) || memcmp(head + 56, "ARM\x64", 4)) {
		return refuse(file, why, bytes, -ENOEXEC, "%s", describe(head, len));
	}
	if (s->packed && inflateInit2(&s->z, GZIP_WINDOW_BITS) != Z_OK)
		return refuse(file, why, bytes, -ENOMEM, "no memory to unpack it");
	return 0;
}

static void source_close(struct source *s)
{
	if (s->packed)
		inflateEnd(&s->z);
}

static int read_failed(const struct image *file, int64_t err, char *why, size_t bytes)
{
	if (err == -ENODATA)
		return refuse(file, why, bytes, -ENOEXEC, "truncated");
	if (err == -EILSEQ)
		return refuse(file, why, bytes, -ENOEXEC, "damaged: gzip cannot unpack it");
	return refuse(file, why, bytes, (int)err, "%s", strerror((int)-err));
}

/* How much of the file an EFI kernel's section table promises; 0 if it has none. `image` holds its
 * first `len` bytes. Only a plain file can be cut without being noticed before. */
static uint64_t promised_bytes(const uint8_t *image, uint64_t len, uint32_t pe)
{
	uint64_t table, most = 0;
	uint16_t sections, optional;

	if (pe < sizeof(struct header) || pe > PAGE_BYTES || len < pe + 24u ||
	    memcmp(image + pe, "PE\0\0", 4))
		return 0;
	memcpy(&sections, image + pe + 6, 2);
	memcpy(&optional, image + pe + 20, 2);
	table = pe + 24u + le16toh(optional);
	for (unsigned i = 0; i < le16toh(sections); i++) {
		uint32_t size, at;
		uint64_t entry = table + 40u * i;

		if (entry + 40 > len)
			break;
		memcpy(&size, image + entry + 16, 4);
		memcpy(&at, image + entry + 20, 4);
		if ((uint64_t)le32toh(at) + le32toh(size) > most)
			most = (uint64_t)le32toh(at) + le32toh(size);
	}
	return most;
}

static int load(struct source *s, const struct gmem *mem, struct boot_image *out, char *why,
		size_t bytes)
{
	const struct gmem_region *ram = &mem->region[0];
	struct header h;
	uint64_t text_offset, size, room;
	int64_t n;
	uint8_t *dst;

	n = source_read(s, &h, sizeof(h));
	if (n < 0)
		return read_failed(s->file, n, why, bytes);
	if (n != sizeof(h) || memcmp(h.magic, "ARM\x64", 4))
		return refuse(s->file, why, bytes, -ENOEXEC,
			      "what is packed in it is not an arm64 Linux Image");
	text_offset = le64toh(h.text_offset);
	size = le64toh(h.image_size);
	if (le64toh(h.flags) & FLAG_BIG_ENDIAN)
		return refuse(s->file, why, bytes, -ENOEXEC, "a big-endian kernel");
	if (size < sizeof(h))
		return refuse(s->file, why, bytes, -ENOEXEC,
			      "the header has no size: a kernel before Linux 3.17, or damaged");
	if (text_offset >= TEXT_OFFSET_END || text_offset % PAGE_BYTES)
		return refuse(s->file, why, bytes, -ENOEXEC, "the header's text offset is damaged");
	room = ram->size_bytes > text_offset ? ram->size_bytes - text_offset : 0;
	if (size > room)
		return refuse(s->file, why, bytes, -E2BIG,
			      "the kernel needs %llu KiB, too big for the guest's memory",
			      (unsigned long long)(size >> 10));
	dst = ram->hva + text_offset;
	memcpy(dst, &h, sizeof(h));
	n = source_read(s, dst + sizeof(h), size - sizeof(h));
	if (n < 0)
		return read_failed(s->file, n, why, bytes);
	if (!s->packed && promised_bytes(dst, size, le32toh(h.pe_offset)) > s->file->size_bytes)
		return read_failed(s->file, -ENODATA, why, bytes);
	out->entry = ram->base + text_offset;
	out->end = out->entry + size;
	return 0;
}

int boot_image_load(const struct image *file, const struct gmem *mem, struct boot_image *out,
		    char *why, size_t why_bytes)
{
	struct source *s = malloc(sizeof(*s));
	int rc;

	if (!s)
		return refuse(file, why, why_bytes, -ENOMEM, "no memory");
	rc = source_open(s, file, &out->protocol, why, why_bytes);
	if (!rc) {
		rc = load(s, mem, out, why, why_bytes);
		source_close(s);
	}
	free(s);
	return rc;
}
