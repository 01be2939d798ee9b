/*
 * The detector of cross-talk, on recorded patterns of traffic and against a naive model.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "xtalk/detector.h"

#define US  1000ull
#define MS  1000000ull
#define SEC 1000000000ull
#define OUT DETECTOR_OUTSIDE

static const struct xtalk_rules usual = {
	.mode = XTALK_DYNAMIC, .threshold = 8, .share_percent = 75, .window = 32
};

static struct detector det;
static uint64_t now_ns;

static void start(const struct xtalk_rules *rules)
{
	now_ns = 1000 * SEC;
	detector_init(&det, rules);
	detector_reset(&det, now_ns);
}

static enum verdict to(enum binding b, unsigned dst)
{
	now_ns += 10 * US;
	return detector_frame(&det, b, dst, now_ns);
}

/* How many frames to dst until the verdict, at most `limit`; 0: it did not come. */
static unsigned until(enum verdict want, enum binding b, unsigned dst, unsigned limit)
{
	for (unsigned i = 1; i <= limit; i++) {
		enum verdict v = to(b, dst);

		if (v == want)
			return i;
		ck_assert_int_eq(v, VERDICT_STAY);
	}
	return 0;
}

static void stays(enum binding b, unsigned dst, unsigned frames)
{
	for (unsigned i = 0; i < frames; i++)
		ck_assert_int_eq(to(b, dst), VERDICT_STAY);
}

/* A switch as far as the detector sees of it: who is asked about which frame. */

static const uint8_t mac_of[4][6] = {
	{ 0x52, 0x54, 0, 0, 0, 0 }, /* the sender */
	{ 0x52, 0x54, 0, 0, 0, 1 },
	{ 0x52, 0x54, 0, 0, 0, 2 },
	{ 0x52, 0x54, 0, 0, 0, 9 }, /* somebody outside */
};
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t mdns[6] = { 0x01, 0x00, 0x5e, 0, 0, 0xfb };

static enum verdict sends(enum binding b, const uint8_t *src, const uint8_t *dst)
{
	unsigned peer = OUT;

	if (memcmp(src, mac_of[0], 6) || (dst[0] & 1)) {
		now_ns += 10 * US;
		return VERDICT_STAY;
	}
	for (unsigned i = 1; i < 3; i++) {
		if (!memcmp(dst, mac_of[i], 6))
			peer = i;
	}
	return to(b, peer);
}

START_TEST(names)
{
	static const char *const why[] = { "traffic", "static",	 "peer",    "shared",
					   "outside", "command", "timeout", "reset" };

	ck_assert_str_eq(binding_name(BINDING_UPLINK), "uplink");
	ck_assert_str_eq(binding_name(BINDING_DIRECT), "direct");
	ck_assert_str_eq(binding_name(BINDING_MAPPED), "mapped");
	ck_assert_str_eq(binding_name((enum binding)99), "unknown");
	for (unsigned i = 0; i < sizeof(why) / sizeof(why[0]); i++)
		ck_assert_str_eq(xtalk_why_name((enum xtalk_why)i), why[i]);
	ck_assert_str_eq(xtalk_why_name((enum xtalk_why)99), "unknown");
}
END_TEST

START_TEST(burst_to_one_guest)
{
	for (unsigned threshold = 1; threshold <= 32; threshold++) {
		struct xtalk_rules r = usual;

		r.threshold = threshold;
		start(&r);
		ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 5, 1000), threshold);
		/* not followed: said again */
		ck_assert_int_eq(to(BINDING_UPLINK, 5), VERDICT_DIRECT);
	}
}
END_TEST

START_TEST(share_boundary)
{
	/* 11 frames, 3 of them outside: 72.7 %; the 12th makes it 75 % sharp. */
	start(&usual);
	stays(BINDING_UPLINK, OUT, 3);
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 1, 100), 9);

	/* In a full window of 32, 8 may be outside and not one more. */
	for (unsigned outside = 8; outside <= 9; outside++) {
		start(&usual);
		for (unsigned i = 0; i < 32 * 8; i++) {
			unsigned dst = i % 32 < outside ? OUT : 1;
			enum verdict v = to(BINDING_UPLINK, dst);

			if (i < 32)
				continue;
			ck_assert_int_eq(v,
					 outside == 8 && dst == 1 ? VERDICT_DIRECT : VERDICT_STAY);
		}
	}
}
END_TEST

/* Guest and outside in turns of `run` frames: how many verdicts that is. */
static unsigned verdicts_in_turns(enum binding b, unsigned run, unsigned frames)
{
	unsigned n = 0;

	start(&usual);
	for (unsigned i = 0; i < frames; i++)
		n += to(b, i / run % 2 ? 1 : OUT) != VERDICT_STAY;
	return n;
}

START_TEST(mixed_traffic_never_flaps)
{
	/* From `uplink`, 8 in a row may be a burst. */
	for (unsigned run = 1; run <= 7; run++)
		ck_assert_uint_eq(verdicts_in_turns(BINDING_UPLINK, run, 100000), 0);
	/* In `direct`, even turns of half a window leave things as they are. */
	for (unsigned run = 1; run <= 15; run++)
		ck_assert_uint_eq(verdicts_in_turns(BINDING_DIRECT, run, 100000), 0);
}
END_TEST

/* By chance there are 8 of 10 to the guest now and then: it goes to `direct` and stays there. */
START_TEST(random_mix_settles)
{
	enum binding b = BINDING_UPLINK;
	unsigned swaps = 0;

	srand48(1);
	start(&usual);
	for (unsigned i = 0; i < 100000; i++) {
		enum verdict v = to(b, lrand48() & 1 ? 1 : OUT);

		if (v == VERDICT_STAY)
			continue;
		b = v == VERDICT_DIRECT ? BINDING_DIRECT : BINDING_UPLINK;
		detector_reset(&det, now_ns);
		swaps++;
	}
	ck_assert_int_eq(b, BINDING_DIRECT);
	ck_assert_uint_eq(swaps, 1);
}
END_TEST

START_TEST(one_arp_in_between)
{
	enum verdict v = VERDICT_STAY;

	start(&usual);
	ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[0], broadcast), VERDICT_STAY);
	for (unsigned i = 1; i <= 8; i++) {
		v = sends(BINDING_UPLINK, mac_of[0], mac_of[1]);
		if (i == 4)
			ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[0], broadcast), VERDICT_STAY);
		if (i < 8)
			ck_assert_int_eq(v, VERDICT_STAY);
	}
	ck_assert_int_eq(v, VERDICT_DIRECT);
}
END_TEST

START_TEST(storm_says_nothing)
{
	uint32_t frames, window;
	uint64_t us;

	start(&usual);
	for (unsigned i = 0; i < 10000; i++) {
		ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[0], i & 1 ? broadcast : mdns),
				 VERDICT_STAY);
		ck_assert_int_eq(sends(BINDING_DIRECT, mac_of[0], broadcast), VERDICT_STAY);
	}
	detector_report(&det, OUT, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 0);
	ck_assert_uint_eq(window, 0);
	/* and hides nothing */
	for (unsigned i = 1; i <= 8; i++) {
		for (unsigned k = 0; k < 20; k++)
			sends(BINDING_UPLINK, mac_of[0], broadcast);
		ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[0], mac_of[2]),
				 i == 8 ? VERDICT_DIRECT : VERDICT_STAY);
	}
}
END_TEST

START_TEST(spoofed_frames_do_not_reach_it)
{
	start(&usual);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[2], mac_of[1]), VERDICT_STAY);
	ck_assert_uint_eq(det.filled, 0);
	for (unsigned i = 1; i <= 8; i++)
		ck_assert_int_eq(sends(BINDING_UPLINK, mac_of[0], mac_of[1]),
				 i == 8 ? VERDICT_DIRECT : VERDICT_STAY);
}
END_TEST

/* A sends data to B and acknowledges what C sends: all of it is cross-talk. */
START_TEST(ring_of_three)
{
	unsigned opened = 0;

	start(&usual);
	for (unsigned i = 1; i <= 16; i++) {
		unsigned dst = i & 1 ? 1 : 2;
		enum verdict v = to(BINDING_UPLINK, dst);

		ck_assert_int_eq(v, i >= 15 ? VERDICT_DIRECT : VERDICT_STAY);
		if (v == VERDICT_DIRECT)
			opened |= 1u << dst;
	}
	/* with each of the two when it got the threshold by itself */
	ck_assert_uint_eq(opened, 1 << 1 | 1 << 2);

	/* The same with a quarter outside, and with more than a quarter. */
	for (unsigned outside = 8; outside <= 9; outside++) {
		bool seen = false;

		start(&usual);
		for (unsigned i = 0; i < 320; i++) {
			unsigned k = i % 32;

			seen |= to(BINDING_UPLINK, k < outside ? OUT : 1 + k % 2) == VERDICT_DIRECT;
		}
		ck_assert_int_eq(seen, outside == 8);
	}
}
END_TEST

/* No single guest is worth a lane when each gets less than the threshold. */
START_TEST(thinly_spread)
{
	struct xtalk_rules r = usual;

	start(&r);
	for (unsigned i = 0; i < 10000; i++)
		ck_assert_int_eq(to(BINDING_UPLINK, i % 5), VERDICT_STAY); /* 6 or 7 of 32 each */
	/* A larger window sees them. */
	r.window = 64;
	start(&r);
	unsigned n = 0;
	while (to(BINDING_UPLINK, n % 5) == VERDICT_STAY && n < 1000)
		n++;
	ck_assert_uint_eq(n + 1, 36); /* the 8th to the first of five */
}
END_TEST

START_TEST(all_peers)
{
	static const struct xtalk_rules r = {
		.mode = XTALK_DYNAMIC, .threshold = 1, .share_percent = 75, .window = 256
	};

	start(&r);
	for (unsigned i = 0; i < DETECTOR_MAX_PEERS; i++)
		ck_assert_int_eq(to(BINDING_UPLINK, i), VERDICT_DIRECT);
	/* What is no slot of the net is outside. */
	ck_assert_int_eq(to(BINDING_UPLINK, DETECTOR_OUTSIDE + 1), VERDICT_STAY);
	ck_assert_int_eq(to(BINDING_UPLINK, UINT32_MAX), VERDICT_STAY);
	ck_assert_uint_eq(det.count[OUT], 2);
}
END_TEST

START_TEST(silence_forgets)
{
	start(&usual);
	stays(BINDING_UPLINK, 1, 7);
	now_ns += SEC - 10 * US; /* exactly a second after the last: not yet */
	ck_assert_int_eq(to(BINDING_UPLINK, 1), VERDICT_DIRECT);

	start(&usual);
	stays(BINDING_UPLINK, 1, 7);
	now_ns += SEC;
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 1, 100), 8);

	/* Frames outside are forgotten as well, and so do not hide what comes. */
	start(&usual);
	stays(BINDING_UPLINK, OUT, 1000);
	now_ns += SEC;
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 1, 100), 8);

	/* A ping a second is never cross-talk, three in two seconds are. */
	start(&usual);
	for (unsigned i = 0; i < 1000; i++) {
		now_ns += SEC;
		ck_assert_int_eq(to(BINDING_UPLINK, 1), VERDICT_STAY);
	}
	start(&usual);
	for (unsigned i = 1; i <= 8; i++) {
		now_ns += 2 * SEC / 3;
		ck_assert_int_eq(to(BINDING_UPLINK, 1), i == 8 ? VERDICT_DIRECT : VERDICT_STAY);
	}
}
END_TEST

START_TEST(hysteresis_on_the_way_back)
{
	/* Twice the threshold. */
	start(&usual);
	now_ns += XTALK_DWELL_NS;
	ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_DIRECT, OUT, 100), 16);

	/* 87.5 %: of 32 frames 4 may be to guests, of whatever name, and not one more. */
	for (unsigned guests = 4; guests <= 5; guests++) {
		bool seen = false;

		start(&usual);
		now_ns += XTALK_DWELL_NS;
		for (unsigned i = 0; i < 320; i++) {
			unsigned k = i % 32;
			enum verdict v = to(BINDING_DIRECT, k < guests ? k : OUT);

			ck_assert_int_ne(v, VERDICT_DIRECT);
			if (v == VERDICT_UPLINK)
				ck_assert_uint_ge(k, guests); /* only with a frame outside */
			if (i >= 32)
				seen |= v == VERDICT_UPLINK;
		}
		ck_assert_int_eq(seen, guests == 4);
	}
	/* 80 % outside would be cross-talk the other way round; it is not enough. */
	start(&usual);
	now_ns += XTALK_DWELL_NS;
	for (unsigned i = 0; i < 100000; i++)
		ck_assert_int_eq(to(BINDING_DIRECT, i % 5 ? OUT : 1), VERDICT_STAY);
}
END_TEST

START_TEST(dwell_on_the_way_back)
{
	uint64_t bound;

	start(&usual);
	bound = now_ns;
	for (;;) {
		enum verdict v = to(BINDING_DIRECT, OUT);

		ck_assert_int_eq(v,
				 now_ns - bound >= XTALK_DWELL_NS ? VERDICT_UPLINK : VERDICT_STAY);
		if (v == VERDICT_UPLINK)
			break;
	}
	ck_assert_uint_eq(now_ns - bound, XTALK_DWELL_NS);
	/* The way there needs no dwell: right after the swap back a burst is cross-talk again. */
	detector_reset(&det, now_ns);
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 1, 100), 8);
	/* A batch that began before the reset has an older clock: no time has passed. */
	detector_reset(&det, now_ns + 5 * MS);
	stays(BINDING_DIRECT, OUT, 100);
	ck_assert_uint_eq(det.filled, 32);
}
END_TEST

START_TEST(mapped_goes_back_like_direct)
{
	start(&usual);
	now_ns += XTALK_DWELL_NS;
	stays(BINDING_MAPPED, 1, 100);
	ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_MAPPED, OUT, 100), 28);
}
END_TEST

START_TEST(window_smaller_than_threshold)
{
	static const struct xtalk_rules r = {
		.mode = XTALK_DYNAMIC, .threshold = 8, .share_percent = 75, .window = 7
	};

	start(&r);
	stays(BINDING_UPLINK, 1, 10000);
	/* The way back stays open. */
	ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_DIRECT, OUT, 100000), 7);
}
END_TEST

START_TEST(twice_the_threshold_above_the_window)
{
	static const struct xtalk_rules r = {
		.mode = XTALK_DYNAMIC, .threshold = 20, .share_percent = 75, .window = 32
	};

	start(&r);
	now_ns += XTALK_DWELL_NS;
	stays(BINDING_DIRECT, 1, 1);
	/* 31 of 32 would have the share */
	ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_DIRECT, OUT, 1000), 32);
}
END_TEST

START_TEST(extreme_rules)
{
	static const unsigned windows[] = { 1, 2, 256 };

	for (unsigned w = 0; w < 3; w++) {
		struct xtalk_rules r = { .mode = XTALK_DYNAMIC,
					 .threshold = 1,
					 .share_percent = 100,
					 .window = windows[w] };

		start(&r);
		ck_assert_int_eq(to(BINDING_UPLINK, 0), VERDICT_DIRECT);
		ck_assert_int_eq(to(BINDING_UPLINK, OUT), VERDICT_STAY);
		/* one frame outside spoils it until it has left the window */
		ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 0, 1000), windows[w]);

		detector_reset(&det, now_ns);
		now_ns += XTALK_DWELL_NS;
		stays(BINDING_DIRECT, 0, 1);
		ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_DIRECT, OUT, 1000), windows[w]);
	}

	struct xtalk_rules all = {
		.mode = XTALK_DYNAMIC, .threshold = 256, .share_percent = 100, .window = 256
	};
	start(&all);
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 255, 1000), 256);
	detector_reset(&det, now_ns);
	now_ns += XTALK_DWELL_NS;
	ck_assert_uint_eq(until(VERDICT_UPLINK, BINDING_DIRECT, OUT, 1000), 256);

	/* What netswitch_create() refuses must not harm either. */
	struct xtalk_rules none = {
		.mode = XTALK_DYNAMIC, .threshold = 0, .share_percent = 0, .window = 0
	};
	start(&none);
	ck_assert_int_eq(to(BINDING_UPLINK, 3), VERDICT_DIRECT);
	struct xtalk_rules huge = {
		.mode = XTALK_DYNAMIC, .threshold = 8, .share_percent = 75, .window = 100000
	};
	start(&huge);
	stays(BINDING_UPLINK, OUT, 5000);
	ck_assert_uint_eq(det.filled, XTALK_WINDOW_MAX);
}
END_TEST

START_TEST(report_figures)
{
	uint32_t frames, window;
	uint64_t us;

	start(&usual);
	detector_report(&det, 1, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 0);
	ck_assert_uint_eq(window, 0);
	ck_assert_uint_eq(us, 0);

	stays(BINDING_UPLINK, OUT, 2);
	ck_assert_uint_eq(until(VERDICT_DIRECT, BINDING_UPLINK, 1, 100), 8);
	detector_report(&det, 1, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 8);
	ck_assert_uint_eq(window, 10);
	ck_assert_uint_eq(us, 70); /* seven steps of 10 µs */
	detector_report(&det, OUT, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 2);
	ck_assert_uint_eq(us, 90);
	detector_report(&det, 2, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 0);
	ck_assert_uint_eq(us, 0);

	/* Only what is still in the window counts, also for who never was out of it. */
	for (unsigned i = 0; i < 1000; i++)
		to(BINDING_UPLINK, i & 1 ? OUT : 1);
	detector_report(&det, 1, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames, 16);
	ck_assert_uint_eq(window, 32);
	ck_assert_uint_eq(us, 310);
	detector_report(&det, OUT, now_ns + 5 * US, &frames, &window, &us);
	ck_assert_uint_eq(us, 305);
	/* an older clock than the frames' */
	detector_report(&det, OUT, now_ns - SEC, &frames, &window, &us);
	ck_assert_uint_eq(us, 0);

	detector_reset(&det, now_ns);
	detector_report(&det, 1, now_ns, &frames, &window, &us);
	ck_assert_uint_eq(frames + window + us, 0);
}
END_TEST

/* The same, told from the whole history of frames. */
struct model {
	const struct xtalk_rules *r;
	unsigned dst[4096];
	uint64_t at[4096];
	unsigned nr;
	uint64_t last_ns, bound_ns;
};

static unsigned model_count(const struct model *m, unsigned dst, unsigned *all, uint64_t *first_ns)
{
	unsigned n = 0;

	*all = m->nr < m->r->window ? m->nr : m->r->window;
	for (unsigned i = m->nr - *all; i < m->nr; i++) {
		if (m->dst[i] == dst && !n++)
			*first_ns = m->at[i];
	}
	return n;
}

static enum verdict model_frame(struct model *m, enum binding b, unsigned dst, uint64_t t)
{
	uint64_t first;
	unsigned all, n, outside;

	if (t - m->last_ns > DETECTOR_SILENCE_NS)
		m->nr = 0;
	m->last_ns = t;
	m->dst[m->nr] = dst;
	m->at[m->nr++] = t;
	n = model_count(m, dst, &all, &first);
	outside = model_count(m, OUT, &all, &first);
	if (b == BINDING_UPLINK)
		return dst != OUT && n >= m->r->threshold &&
				       (all - outside) / (double)all >= m->r->share_percent / 100.0
			       ? VERDICT_DIRECT
			       : VERDICT_STAY;
	unsigned enough = 2 * m->r->threshold < m->r->window ? 2 * m->r->threshold : m->r->window;
	return dst == OUT && n >= enough &&
			       n / (double)all >= (m->r->share_percent + 100) / 200.0 &&
			       t - m->bound_ns >= XTALK_DWELL_NS
		       ? VERDICT_UPLINK
		       : VERDICT_STAY;
}

static void compare_counts(const struct model *m)
{
	unsigned sum = 0;

	for (unsigned dst = 0; dst <= DETECTOR_OUTSIDE; dst++) {
		uint32_t frames, window;
		uint64_t us, first = now_ns;
		unsigned all, n = model_count(m, dst, &all, &first);

		detector_report(&det, dst, now_ns, &frames, &window, &us);
		ck_assert_uint_eq(frames, n);
		ck_assert_uint_eq(window, all);
		ck_assert_uint_eq(us, (now_ns - first) / 1000);
		sum += frames;
	}
	ck_assert_uint_eq(sum, det.filled);
}

START_TEST(agrees_with_naive_model)
{
	static struct model m;
	unsigned verdicts[3] = { 0 };

	srand48(_i + 1);
	for (unsigned round = 0; round < 40; round++) {
		struct xtalk_rules r = { .mode = XTALK_DYNAMIC,
					 .window = 1 + lrand48() % 256,
					 .share_percent = 51 + lrand48() % 50 };
		enum binding b = BINDING_UPLINK;
		unsigned peers = 1 + lrand48() % 8, phase = 0, first = lrand48() % 250;

		r.threshold = 1 + lrand48() % r.window;
		start(&r);
		m = (struct model){ .r = &r, .last_ns = now_ns, .bound_ns = now_ns };
		for (unsigned i = 0; i < 2000; i++) {
			/* phases: to guests, outside, mixed */
			if (lrand48() % 300 == 0)
				phase = lrand48() % 3;
			bool out = phase == 1 || (phase == 2 && lrand48() % 3 == 0);
			unsigned dst = out ? OUT : first + lrand48() % peers % 256;

			if (dst > OUT)
				dst = OUT;
			now_ns += lrand48() % (MS / 2);
			if (lrand48() % 500 == 0)
				now_ns += SEC;
			enum verdict want = model_frame(&m, b, dst, now_ns);
			enum verdict got = detector_frame(&det, b, dst, now_ns);
			ck_assert_int_eq(got, want);
			verdicts[got]++;
			if (i % 97 == 0)
				compare_counts(&m);
			/* sometimes the caller has no time for it */
			if (got != VERDICT_STAY && lrand48() % 4) {
				b = got == VERDICT_DIRECT ? BINDING_DIRECT : BINDING_UPLINK;
				detector_reset(&det, now_ns);
				m.nr = 0;
				m.bound_ns = now_ns;
			}
		}
		compare_counts(&m);
	}
	/* It was about something. */
	ck_assert_uint_gt(verdicts[VERDICT_DIRECT], 5);
	ck_assert_uint_gt(verdicts[VERDICT_UPLINK], 5);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("detector");
	TCase *tc = tcase_create("patterns");
	TCase *tc_model = tcase_create("model");

	tcase_add_test(tc, names);
	tcase_add_test(tc, burst_to_one_guest);
	tcase_add_test(tc, share_boundary);
	tcase_add_test(tc, mixed_traffic_never_flaps);
	tcase_add_test(tc, random_mix_settles);
	tcase_add_test(tc, one_arp_in_between);
	tcase_add_test(tc, storm_says_nothing);
	tcase_add_test(tc, spoofed_frames_do_not_reach_it);
	tcase_add_test(tc, ring_of_three);
	tcase_add_test(tc, thinly_spread);
	tcase_add_test(tc, all_peers);
	tcase_add_test(tc, silence_forgets);
	tcase_add_test(tc, hysteresis_on_the_way_back);
	tcase_add_test(tc, dwell_on_the_way_back);
	tcase_add_test(tc, mapped_goes_back_like_direct);
	tcase_add_test(tc, window_smaller_than_threshold);
	tcase_add_test(tc, twice_the_threshold_above_the_window);
	tcase_add_test(tc, extreme_rules);
	tcase_add_test(tc, report_figures);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc_model, agrees_with_naive_model, 0, 8);
	tcase_set_timeout(tc_model, 60);
	suite_add_tcase(s, tc_model);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
