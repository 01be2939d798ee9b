/*
 * ELF kernels; see elf.h. Every number in the file is hostile until checked here. Runs on the
 * thread that creates the machine.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/elf.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX_BYTES		 16384

/* Header fields that ELF32 and ELF64 have in common, in one form. */
struct ehdr {
	uint16_t machine, type, phentsize, phnum;
	uint64_t entry, phoff;
};
struct phdr {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

static int truncated(struct loader *l, const char *what)
{
	return loader_refuse(l, -ENOEXEC,
			     "truncated: %s reaches beyond the end of the file (%" PRIu64 " bytes)",
			     what, l->kernel.size_bytes);
}

static int read_part(struct loader *l, uint64_t offset, void *dst, uint64_t len, const char *what)
{
	int err = image_read(&l->kernel, offset, dst, len);

	if (err == -ENODATA)
		return truncated(l, what);
	return err ? loader_refuse(l, err, "%s", strerror(-err)) : 0;
}

static int read_ehdr(struct loader *l, struct elf_kernel *k, struct ehdr *h)
{
	uint8_t ident[EI_NIDENT];
	Elf32_Ehdr e32;
	Elf64_Ehdr e64;

	int err = read_part(l, 0, ident, sizeof(ident), "the ELF header");
	if (err)
		return err;
	if (ident[EI_DATA] != ELFDATA2LSB)
		return loader_refuse(l, -ENOEXEC, "ELF file that is not little-endian");
	switch (ident[EI_CLASS]) {
	case ELFCLASS32:
		err = read_part(l, 0, &e32, sizeof(e32), "the ELF header");
		if (err)
			return err;
		*h = (struct ehdr){ e32.e_machine, e32.e_type,	e32.e_phentsize,
				    e32.e_phnum,   e32.e_entry, e32.e_phoff };
		if (h->phentsize != sizeof(Elf32_Phdr))
			return loader_refuse(l, -ENOEXEC,
					     "ELF program headers of %u bytes, not %zu",
					     h->phentsize, sizeof(Elf32_Phdr));
		break;
	case ELFCLASS64:
		err = read_part(l, 0, &e64, sizeof(e64), "the ELF header");
		if (err)
			return err;
		*h = (struct ehdr){ e64.e_machine, e64.e_type,	e64.e_phentsize,
				    e64.e_phnum,   e64.e_entry, e64.e_phoff };
		if (h->phentsize != sizeof(Elf64_Phdr))
			return loader_refuse(l, -ENOEXEC,
					     "ELF program headers of %u bytes, not %zu",
					     h->phentsize, sizeof(Elf64_Phdr));
		k->is_64bit = true;
		break;
	default:
		return loader_refuse(l, -ENOEXEC, "ELF class %u is neither 32-bit nor 64-bit",
				     ident[EI_CLASS]);
	}
	if (h->machine != EM_386 && h->machine != EM_X86_64)
		return loader_refuse(l, -ENOEXEC,
				     "ELF file for another processor (machine %u, not x86)",
				     h->machine);
	if (h->type != ET_EXEC && h->type != ET_DYN)
		return loader_refuse(l, -ENOEXEC, "ELF file that is not linked (type %u)", h->type);
	if (h->phnum == 0)
		return loader_refuse(l, -ENOEXEC, "ELF file without program headers");
	return 0;
}

static int read_phdr(struct loader *l, const struct elf_kernel *k, const struct ehdr *h, unsigned i,
		     struct phdr *p)
{
	const char *what = "the program header table";
	Elf32_Phdr p32 = { 0 };
	Elf64_Phdr p64 = { 0 };
	int err;

	/* So that the sums below cannot wrap. */
	if (h->phoff > l->kernel.size_bytes)
		return truncated(l, what);
	if (k->is_64bit) {
		err = read_part(l, h->phoff + i * sizeof(p64), &p64, sizeof(p64), what);
		*p = (struct phdr){ p64.p_type,	  p64.p_offset, p64.p_vaddr, p64.p_paddr,
				    p64.p_filesz, p64.p_memsz,	p64.p_align };
	} else {
		err = read_part(l, h->phoff + i * sizeof(p32), &p32, sizeof(p32), what);
		*p = (struct phdr){ p32.p_type,	  p32.p_offset, p32.p_vaddr, p32.p_paddr,
				    p32.p_filesz, p32.p_memsz,	p32.p_align };
	}
	return err;
}

/* Looks for the PVH entry in the notes of one PT_NOTE segment. */
static void find_pvh_note(struct elf_kernel *k, const uint8_t *notes, uint64_t len, uint64_t align)
{
	Elf32_Nhdr n; /* the same in ELF64 */
	uint64_t pos = 0;

	while (len - pos >= sizeof(n)) {
		memcpy(&n, notes + pos, sizeof(n));
		uint64_t name = pos + sizeof(n);
		uint64_t desc = ALIGN_UP(name + n.n_namesz, align);
		uint64_t next = ALIGN_UP(desc + n.n_descsz, align);

		if (desc > len || n.n_descsz > len - desc)
			return;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (n.n_descsz == 4 || n.n_descsz == 8)) {
			/* 64-bit assemblers often emit 8 bytes; the upper half is zero. */
			memcpy(&k->pvh_entry, notes + desc, sizeof(k->pvh_entry));
			k->has_pvh = true;
		}
		if (next > len)
			return;
		pos = next;
	}
}

static int parse_note(struct loader *l, struct elf_kernel *k, const struct phdr *p)
{
	uint8_t notes[NOTES_MAX_BYTES];
	/* Kernels have a few hundred bytes of notes; what lies behind the limit is not for us. */
	uint64_t len = p->filesz < sizeof(notes) ? p->filesz : sizeof(notes);

	int err = read_part(l, p->offset, notes, len, "a note segment");
	if (!err)
		find_pvh_note(k, notes, len, p->align == 8 ? 8 : 4);
	return err;
}

static int parse_load(struct loader *l, struct elf_kernel *k, const struct phdr *p)
{
	if (p->memsz == 0 && p->filesz == 0)
		return 0;
	if (p->filesz > p->memsz)
		return loader_refuse(l, -ENOEXEC,
				     "segment at 0x%" PRIx64 " has more bytes in the file (%" PRIu64
				     ") than in memory (%" PRIu64 ")",
				     p->paddr, p->filesz, p->memsz);
	if (!image_covers(&l->kernel, p->offset, p->filesz))
		return truncated(l, "a segment");
	if (p->paddr + p->memsz < p->paddr || p->vaddr + p->memsz - 1 < p->vaddr)
		return loader_refuse(l, -ENOEXEC, "segment at 0x%" PRIx64 " wraps around",
				     p->paddr);
	if (k->nr_segments == ELF_MAX_SEGMENTS)
		return loader_refuse(l, -ENOEXEC, "more than %d loadable segments",
				     ELF_MAX_SEGMENTS);
	k->segment[k->nr_segments++] = (struct elf_segment){
		.offset = p->offset,
		.file_bytes = p->filesz,
		.mem_bytes = p->memsz,
		.paddr = p->paddr,
		.vaddr = p->vaddr,
	};
	return 0;
}

int elf_parse(struct loader *l, struct elf_kernel *k)
{
	struct ehdr h = { 0 };
	struct phdr p;

	*k = (struct elf_kernel){ .is_64bit = false };
	int err = read_ehdr(l, k, &h);
	if (err)
		return err;
	k->entry = h.entry;
	for (unsigned i = 0; i < h.phnum; i++) {
		err = read_phdr(l, k, &h, i, &p);
		if (!err && p.type == PT_NOTE && !k->has_pvh)
			err = parse_note(l, k, &p);
		if (!err && p.type == PT_LOAD)
			err = parse_load(l, k, &p);
		if (err)
			return err;
	}
	if (k->nr_segments == 0)
		return loader_refuse(l, -ENOEXEC, "ELF file without a loadable segment");
	return 0;
}

int elf_load(struct loader *l, const struct elf_kernel *k)
{
	for (unsigned i = 0; i < k->nr_segments; i++) {
		const struct elf_segment *s = &k->segment[i];

		int err = loader_claim(l, s->paddr, s->mem_bytes, "a kernel segment");
		if (err)
			return err;
		/* The rest of the segment is zero: guest memory is fresh. */
		err = image_load(&l->kernel, s->offset, l->mem, s->paddr, s->file_bytes);
		if (err == -ENODATA)
			return truncated(l, "a segment");
		if (err)
			return loader_refuse(l, err, "%s", strerror(-err));
	}
	return 0;
}

bool elf_covers(const struct elf_kernel *k, gpa_t gpa)
{
	for (unsigned i = 0; i < k->nr_segments; i++) {
		const struct elf_segment *s = &k->segment[i];
		if (gpa >= s->paddr && gpa - s->paddr < s->mem_bytes)
			return true;
	}
	return false;
}

bool elf_entry_gpa(const struct elf_kernel *k, gpa_t *gpa)
{
	for (unsigned i = 0; i < k->nr_segments; i++) {
		const struct elf_segment *s = &k->segment[i];
		if (k->entry >= s->vaddr && k->entry - s->vaddr < s->mem_bytes) {
			*gpa = s->paddr + (k->entry - s->vaddr);
			return true;
		}
	}
	/* Kernels that are linked high often name a physical entry point themselves. */
	*gpa = k->entry;
	return elf_covers(k, k->entry);
}
