/*
 * One DMA buffer under two rings: see mapping.h.
 *
 * Theory of operation. A guest's private pages stay in its own file while others are bound in their
 * place, so what is to be preserved is written to the file, not to the address. Runs of pages that
 * are neighbours in a guest and in the buffer move with one call.
 */
#include "xtalk/mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of a buffer that was made before all was known. */
#define BUFFER_SURPLUS_BYTES 65536

static uint8_t *page_of(const struct mapping *m, unsigned i, bool tx)
{
	return tx ? m->page[i].tx : m->page[i].rx;
}

/* How many pages from i on lie one behind the other in the guest. */
static unsigned run_from(const struct mapping *m, unsigned i, bool tx)
{
	unsigned n = 1;

	while (i + n < m->nr &&
	       page_of(m, i + n, tx) == page_of(m, i, tx) + (size_t)n * PAIR_PAGE_BYTES)
		n++;
	return n;
}

static int unbind(const struct mapping *m, bool tx)
{
	const struct port_memory *mem = tx ? m->tx : m->rx;
	int err = 0;

	for (unsigned i = 0, n; i < m->nr; i += n) {
		int rc;

		n = run_from(m, i, tx);
		rc = gmem_restore(mem->mem, page_of(m, i, tx), (uint64_t)n * PAIR_PAGE_BYTES);
		if (rc)
			err = rc;
	}
	if (!err)
		return 0;
	mem->lost(mem->arg);
	return -ENOTRECOVERABLE;
}

static int bind(const struct mapping *m, bool tx)
{
	const struct port_memory *mem = tx ? m->tx : m->rx;
	unsigned flags = !tx && mem->receive_readonly ? GMEM_VCPU_READONLY : 0;

	for (unsigned i = 0, n; i < m->nr; i += n) {
		int rc;

		n = run_from(m, i, tx);
		rc = gmem_rebind(mem->mem, page_of(m, i, tx), (uint64_t)n * PAIR_PAGE_BYTES,
				 m->dma.fd, (uint64_t)i * PAIR_PAGE_BYTES, flags);
		if (rc) {
			int lost = unbind(m, tx);

			return lost ? lost : rc;
		}
	}
	return 0;
}

static void hold(const struct mapping *m)
{
	m->tx->hold(m->tx->arg);
	if (m->rx->mem != m->tx->mem)
		m->rx->hold(m->rx->arg);
}

static void release(const struct mapping *m)
{
	if (m->rx->mem != m->tx->mem)
		m->rx->release(m->rx->arg);
	m->tx->release(m->tx->arg);
}

static int by_tx(const void *key, const void *elem)
{
	uintptr_t a = (uintptr_t)key, b = (uintptr_t)((const struct page_pair *)elem)->tx;

	return a < b ? -1 : a >= b + PAIR_PAGE_BYTES;
}

/* Where a byte of the sender's slots is in the buffer, or NULL. */
static uint8_t *in_buffer(const struct mapping *m, const uint8_t *tx)
{
	const struct page_pair *p = bsearch(tx, m->page, m->nr, sizeof(*m->page), by_tx);

	if (!p)
		return NULL;
	return m->dma.map + (size_t)(p - m->page) * PAIR_PAGE_BYTES + (size_t)(tx - p->tx);
}

/* Calls fn for each piece of [tx, tx + len) that lies in one page: neighbours in the guest need not
 * be neighbours in the buffer. */
static int each_piece(const struct mapping *m, const struct mapping_part *part,
		      int (*fn)(const struct mapping *m, uint8_t *buf,
				const struct mapping_part *piece))
{
	uint32_t done = 0;
	int err = 0;

	while (done < part->len && !err) {
		struct mapping_part piece = { part->tx + done, part->rx ? part->rx + done : NULL,
					      part->len - done };
		uint32_t room = PAIR_PAGE_BYTES - (uint32_t)((uintptr_t)piece.tx % PAIR_PAGE_BYTES);
		uint8_t *buf = in_buffer(m, piece.tx);

		if (piece.len > room)
			piece.len = room;
		if (!buf)
			return -EINVAL;
		err = fn(m, buf, &piece);
		done += piece.len;
	}
	return err;
}

static int copy_in(const struct mapping *m, uint8_t *buf, const struct mapping_part *piece)
{
	memcpy(buf, piece->tx, piece->len);
	return 0;
}

static int copy_to_receiver(const struct mapping *m, uint8_t *buf, const struct mapping_part *piece)
{
	return gmem_private_write(m->rx->mem, piece->rx, buf, piece->len);
}

static void forget(struct mapping *m)
{
	dma_buf_destroy(&m->dma);
	free(m->page);
	memset(m, 0, sizeof(*m));
	m->dma.fd = -1;
}

int mapping_buffer(struct dma_buf *b, unsigned nr_pages)
{
	return dma_buf_create(b, "xvmm-lane", (uint64_t)nr_pages * PAIR_PAGE_BYTES);
}

static int take_buffer(struct mapping *m, struct dma_buf *ready)
{
	uint64_t need = (uint64_t)m->nr * PAIR_PAGE_BYTES;

	if (!ready->map || ready->bytes < need || ready->bytes - need > BUFFER_SURPLUS_BYTES)
		return mapping_buffer(&m->dma, m->nr);
	m->dma = *ready;
	*ready = (struct dma_buf){ .fd = -1 };
	return 0;
}

int mapping_enter(struct mapping *m, const struct port_memory *tx, const struct port_memory *rx,
		  const struct pairing *p, const struct mapping_part *keep, unsigned nr_keep,
		  struct dma_buf *ready)
{
	int err;

	memset(m, 0, sizeof(*m));
	m->tx = tx;
	m->rx = rx;
	m->nr = p->nr;
	m->page = calloc(p->nr, sizeof(*m->page));
	if (!m->page)
		return -ENOMEM;
	memcpy(m->page, p->page, p->nr * sizeof(*m->page));
	err = take_buffer(m, ready);
	if (err) {
		free(m->page);
		memset(m, 0, sizeof(*m));
		m->dma.fd = -1;
		return err;
	}
	hold(m);
	for (unsigned i = 0; i < nr_keep && !err; i++)
		err = each_piece(m, &keep[i], copy_in);
	if (!err)
		err = bind(m, true);
	if (!err) {
		err = bind(m, false);
		if (err && unbind(m, true))
			err = -ENOTRECOVERABLE;
	}
	release(m);
	if (err)
		forget(m);
	return err;
}

int mapping_leave(struct mapping *m, const struct mapping_part *keep, unsigned nr_keep)
{
	int err = 0, rc;

	hold(m);
	for (unsigned i = 0, n; i < m->nr && !err; i += n) {
		n = run_from(m, i, true);
		err = gmem_private_write(m->tx->mem, m->page[i].tx,
					 m->dma.map + (size_t)i * PAIR_PAGE_BYTES,
					 (uint64_t)n * PAIR_PAGE_BYTES);
	}
	if (err) /* no memory for a page that the guest has a right to */
		m->tx->lost(m->tx->arg);
	for (unsigned i = 0, bad = 0; i < nr_keep && !bad; i++) {
		rc = each_piece(m, &keep[i], copy_to_receiver);
		bad = rc != 0;
		if (!bad)
			continue;
		m->rx->lost(m->rx->arg);
		err = rc;
	}
	rc = unbind(m, true);
	if (rc)
		err = rc;
	rc = unbind(m, false);
	if (rc)
		err = rc;
	release(m);
	forget(m);
	return err;
}
