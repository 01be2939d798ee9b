/*
 * Pairing of two rings by position: see pair.h.
 *
 * Theory of operation. Two slots are the same memory if they begin at the same offset in their
 * pages and these pages pair up. A page may hold several slots, and a slot several pages; so the
 * pairs of pages that the slots ask for are collected, and they must agree: no page of either ring
 * may be asked for twice with different partners.
 */
#include "xtalk/pair.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* An Ethernet check sequence: an e1000 keeps the place of it back. */
#define TAIL_BYTES 4

static int refuse(struct pairing *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return -EXDEV;
}

static unsigned page_offset(const uint8_t *at)
{
	return (unsigned)((uintptr_t)at % PAIR_PAGE_BYTES);
}

static int by_address(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t) * (uint8_t *const *)x, b = (uintptr_t) * (uint8_t *const *)y;

	return (a > b) - (a < b);
}

/* The shortest way from one slot to the next in memory. 0: two are the same. -ENOMEM. */
static int64_t stride_of(const struct slot_list *l)
{
	uint8_t **at;
	uint64_t best = UINT64_MAX;

	if (l->nr < 2)
		return 0;
	at = calloc(l->nr, sizeof(*at));
	if (!at)
		return -ENOMEM;
	for (unsigned i = 0; i < l->nr; i++)
		at[i] = l->slot[i].at;
	qsort(at, l->nr, sizeof(*at), by_address);
	for (unsigned i = 1; i < l->nr; i++) {
		uint64_t d = (uint64_t)(at[i] - at[i - 1]);

		if (d < best)
			best = d;
	}
	free(at);
	return best > INT32_MAX ? INT32_MAX : (int64_t)best;
}

static int measure(struct pairing *p, const struct slot_list *tx, const struct slot_list *rx)
{
	int64_t a, b;

	if (tx->nr != rx->nr)
		return refuse(p, "rings %u/%u", tx->nr, rx->nr);
	if (tx->nr < 2)
		return refuse(p, "rings of one slot");
	a = stride_of(tx);
	b = stride_of(rx);
	if (a < 0 || b < 0)
		return -ENOMEM;
	if (a != b || !a)
		return refuse(p, "stride %lld/%lld", (long long)a, (long long)b);
	p->stride = (uint32_t)a;
	p->span = rx->slot[0].bytes;
	for (unsigned i = 0; i < rx->nr; i++) {
		if (rx->slot[i].bytes != p->span)
			return refuse(p, "receive slots of %u and %u bytes", p->span,
				      rx->slot[i].bytes);
	}
	if (!p->span || p->span > p->stride)
		return refuse(p, "receive slots overlap: %u bytes, stride %u", p->span, p->stride);
	if (p->stride - p->span <= TAIL_BYTES)
		p->span = p->stride;
	return 0;
}

static int by_tx(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t)((const struct page_pair *)x)->tx;
	uintptr_t b = (uintptr_t)((const struct page_pair *)y)->tx;

	return (a > b) - (a < b);
}

static int by_rx(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t)((const struct page_pair *)x)->rx;
	uintptr_t b = (uintptr_t)((const struct page_pair *)y)->rx;

	return (a > b) - (a < b);
}

/* Sorts, drops repetitions. False: a page has two partners. */
static bool agree(struct pairing *p)
{
	unsigned n = 0;

	qsort(p->page, p->nr, sizeof(*p->page), by_rx);
	for (unsigned i = 1; i < p->nr; i++) {
		if (p->page[i].rx == p->page[i - 1].rx && p->page[i].tx != p->page[i - 1].tx)
			return false;
	}
	qsort(p->page, p->nr, sizeof(*p->page), by_tx);
	for (unsigned i = 0; i < p->nr; i++) {
		if (n && p->page[i].tx == p->page[n - 1].tx) {
			if (p->page[i].rx != p->page[n - 1].rx)
				return false;
			continue;
		}
		p->page[n++] = p->page[i];
	}
	p->nr = n;
	return true;
}

static int collect(struct pairing *p, const struct slot_list *tx, const struct slot_list *rx,
		   unsigned skip)
{
	p->nr = 0;
	p->skip = skip;
	for (unsigned i = 0; i < tx->nr; i++) {
		uint8_t *a = tx->slot[i].at, *b = rx->slot[(i + skip) % rx->nr].at;
		unsigned off = page_offset(a), pages;

		if (off != page_offset(b))
			return refuse(p, "in-page offset %u/%u", off, page_offset(b));
		pages = (off + p->span + PAIR_PAGE_BYTES - 1) / PAIR_PAGE_BYTES;
		if (p->nr + pages > PAIR_MAX_PAGES)
			return refuse(p, "slots of more than %u MiB",
				      PAIR_MAX_PAGES * PAIR_PAGE_BYTES >> 20);
		for (unsigned n = 0; n < pages; n++)
			p->page[p->nr++] =
				(struct page_pair){ a - off + (size_t)n * PAIR_PAGE_BYTES,
						    b - off + (size_t)n * PAIR_PAGE_BYTES };
	}
	return agree(p) ? 0 : refuse(p, "slots that share a page do not pair");
}

/* In the order of the buffer, which is that of the sender's pages. */
static unsigned runs(const struct pairing *p, bool tx)
{
	unsigned n = 1;

	for (unsigned i = 1; i < p->nr; i++) {
		const struct page_pair *a = &p->page[i - 1], *b = &p->page[i];

		n += tx ? b->tx != a->tx + PAIR_PAGE_BYTES : b->rx != a->rx + PAIR_PAGE_BYTES;
	}
	return n;
}

static int few_runs(struct pairing *p)
{
	unsigned tx = runs(p, true), rx = runs(p, false);

	if (tx <= PAIR_MAX_RUNS && rx <= PAIR_MAX_RUNS)
		return 0;
	return refuse(p, "slots lie in %u/%u pieces", tx, rx);
}

int pair_rings(struct pairing *p, const struct slot_list *tx, const struct slot_list *rx)
{
	unsigned per_page;
	int err = measure(p, tx, rx);

	if (err)
		return err;
	/* Where several slots share a page, one ring may be a few slots ahead of the other's page
	 * boundaries. */
	per_page = p->stride < PAIR_PAGE_BYTES ? PAIR_PAGE_BYTES / p->stride : 1;
	for (unsigned skip = 0; skip < per_page && skip < rx->nr; skip++) {
		char first[sizeof(p->why)];

		if (skip)
			snprintf(first, sizeof(first), "%s", p->why);
		err = collect(p, tx, rx, skip);
		if (!err)
			return few_runs(p);
		if (skip) /* the first reason is the one that tells most */
			snprintf(p->why, sizeof(p->why), "%s", first);
	}
	return err;
}

int pair_estimate(struct pairing *p, struct slot_list *tx)
{
	int64_t stride = stride_of(tx);

	if (stride < 0)
		return (int)stride;
	for (unsigned i = 0; i < tx->nr; i++)
		tx->slot[i].bytes = (uint32_t)stride;
	return pair_rings(p, tx, tx);
}

struct cover {
	const uint8_t *from, *to;
};

static int by_from(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t)((const struct cover *)x)->from;
	uintptr_t b = (uintptr_t)((const struct cover *)y)->from;

	return (a > b) - (a < b);
}

static bool all_zero(const uint8_t *from, const uint8_t *to)
{
	for (; from < to; from++) {
		if (*(const volatile uint8_t *)from)
			return false;
	}
	return true;
}

bool pair_pages_clean(const struct pairing *p, const struct slot_list *list, bool tx)
{
	struct cover *c = calloc(list->nr, sizeof(*c));
	bool clean = true;
	unsigned at = 0;
	struct page_pair *page;

	if (!c)
		return false;
	for (unsigned i = 0; i < list->nr; i++)
		c[i] = (struct cover){ list->slot[i].at, list->slot[i].at + p->span };
	qsort(c, list->nr, sizeof(*c), by_from);
	page = calloc(p->nr, sizeof(*page));
	if (!page) {
		free(c);
		return false;
	}
	for (unsigned i = 0; i < p->nr; i++)
		page[i] = p->page[i];
	qsort(page, p->nr, sizeof(*page), tx ? by_tx : by_rx);
	for (unsigned i = 0; i < p->nr && clean; i++) {
		const uint8_t *pos = tx ? page[i].tx : page[i].rx, *end = pos + PAIR_PAGE_BYTES;

		while (at < list->nr && c[at].to <= pos)
			at++;
		for (unsigned n = at; pos < end && clean; n++) {
			const uint8_t *next = n < list->nr && c[n].from < end ? c[n].from : end;

			if (pos < next)
				clean = all_zero(pos, next);
			pos = n < list->nr && next != end ? c[n].to : end;
		}
	}
	free(page);
	free(c);
	return clean;
}
