/* Files without fault: what the data model says about them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/config_fixture.h"
#include "vmm/config_internal.h"

#define A "[vm a]\nkernel = k\n"

static void expect_mac(const struct nic_config *nic, const char *text)
{
	uint8_t mac[6];
	ck_assert_int_eq(config_parse_mac(text, mac), 0);
	ck_assert_mem_eq(nic->mac, mac, 6);
}

START_TEST(defaults)
{
	struct lab_config lab;

	config_fixture_load_good(A "[net n]\n[nic a.x]\nnet = n\n[disk a.d]\npath = d\n", &lab);
	ck_assert_str_eq(lab.path, "vm.ini");
	ck_assert_str_eq(lab.name, "vm");
	ck_assert_uint_eq(lab.shutdown_timeout_s, 30);
	ck_assert_uint_eq(lab.nr_nets, 1);
	ck_assert_uint_eq(lab.nr_guests, 1);
	ck_assert_uint_eq(lab.nr_nics, 1);
	ck_assert_uint_eq(lab.nr_disks, 1);

	const struct net_config *net = &lab.net[0];
	ck_assert_str_eq(net->name, "n");
	ck_assert_uint_eq(net->line, 3);
	ck_assert_int_eq(net->uplink, UPLINK_NONE);
	ck_assert_ptr_null(net->uplink_name);
	ck_assert_int_eq(net->crosstalk, CROSSTALK_DYNAMIC);
	ck_assert_uint_eq(net->crosstalk_threshold, 8);
	ck_assert_uint_eq(net->crosstalk_share, 75);
	ck_assert_uint_eq(net->crosstalk_window, 32);
	ck_assert_uint_eq(net->receiver_hold_us, 1000);
	ck_assert_uint_eq(net->slot_deadline_us, 50000);
	ck_assert_int_eq(net->sharing, SHARING_AUTO);

	const struct guest_config *g = &lab.guest[0];
	ck_assert_str_eq(g->name, "a");
	ck_assert_uint_eq(g->line, 1);
	ck_assert_str_eq(g->kernel, "k");
	ck_assert_ptr_null(g->initrd);
	ck_assert_str_eq(g->cmdline, "");
	ck_assert_uint_eq(g->nr_modules, 0);
	ck_assert_uint_eq(g->memory_bytes, MIB(256));
	ck_assert_uint_eq(g->cpus, 1);
	ck_assert_int_eq(g->console.kind, CONSOLE_STDIO);
	ck_assert_ptr_null(g->console.path);
	ck_assert_int_eq(g->virtio_console.kind, CONSOLE_NONE);
	ck_assert_str_eq(g->domain, "");
	ck_assert_int_eq(g->transport, TRANSPORT_PCI);
	ck_assert_int_eq(g->hugepages, HUGEPAGES_NO);
	ck_assert(!g->prealloc);
	ck_assert(!g->rng);
	ck_assert_int_eq(g->on_reboot, END_RESTART);
	ck_assert_int_eq(g->on_crash, END_STOP);

	const struct nic_config *nic = &lab.nic[0];
	ck_assert_uint_eq(nic->guest, 0);
	ck_assert_uint_eq(nic->net, 0);
	ck_assert_str_eq(nic->name, "x");
	ck_assert_str_eq(nic->full_name, "a.x");
	ck_assert_uint_eq(nic->line, 4);
	ck_assert(!nic->mac_given);
	ck_assert_int_eq(nic->model, NIC_VIRTIO);
	ck_assert(!nic->promiscuous);
	ck_assert_int_eq(nic->slots, SLOTS_AUTO);
	ck_assert(!nic->receive_readonly);
	ck_assert_int_eq(nic->peer, -1);

	const struct disk_config *disk = &lab.disk[0];
	ck_assert_uint_eq(disk->guest, 0);
	ck_assert_str_eq(disk->name, "d");
	ck_assert_str_eq(disk->full_name, "a.d");
	ck_assert_uint_eq(disk->line, 6);
	ck_assert_str_eq(disk->path, "d");
	ck_assert_str_eq(disk->id, "a.d");
	ck_assert(!disk->readonly);
	config_free(&lab);
}
END_TEST

START_TEST(everything)
{
	struct lab_config lab;

	/* Sections in an order that needs looking ahead. */
	config_fixture_load_good("[disk b.root]\npath = e\nreadonly = yes\nid = serial-1\n"
				 "[nic b.eth0]\nnet = lan1\nmac = 02:00:00:00:00:0A\n"
				 "peer = a.eth0\nmodel = virtio\npromiscuous = yes\n"
				 "slots = stable\nreceive-view = read-only\n"
				 "[nic a.eth0]\nnet = lan1\nmodel = e1000\nslots = fresh\n"
				 "receive-view = read-write\n"
				 "[vm a]\nkernel = k\ninitrd = i\nmodule = m\n"
				 "module=sub/k  one  two=2 ; three \n"
				 "cmdline = root=/dev/vda ro\nmemory = 1G\ncpus = 64\n"
				 "console = file:log\nvirtio-console = unix:sub/s\ndomain = d1\n"
				 "transport = mmio\nhugepages = yes\nprealloc = yes\nrng = yes\n"
				 "on-reboot = stop\non-crash = restart\n"
				 "[vm b]\nkernel = /proc/self/exe\nhugepages = 1G\nmemory = 2G\n"
				 "console = none\nvirtio-console = pty\n"
				 "[net lan0]\nuplink = tap:xv0\ncrosstalk = off\nmemory = copy\n"
				 "[net lan1]\nuplink = bridge:br0\ncrosstalk = static\n"
				 "memory = auto\ncrosstalk-window = 256\n"
				 "crosstalk-threshold = 256\ncrosstalk-share = 51 %\n"
				 "receiver-hold = 1000ms\nslot-deadline = 1000ms\n"
				 "[net lan2]\ncrosstalk-threshold = 1\ncrosstalk-window = 1\n"
				 "crosstalk-share = 100%\nreceiver-hold = 0\n"
				 "[net lan3]\ncrosstalk-share = 66\nreceiver-hold = 1us\n"
				 "slot-deadline = 1000\n"
				 "[lab]\nname = my-lab\nshutdown-timeout = 0\n",
				 &lab);
	ck_assert_str_eq(lab.name, "my-lab");
	ck_assert_uint_eq(lab.shutdown_timeout_s, 0);

	ck_assert_int_eq(lab.net[0].uplink, UPLINK_TAP);
	ck_assert_str_eq(lab.net[0].uplink_name, "xv0");
	ck_assert_int_eq(lab.net[0].crosstalk, CROSSTALK_OFF);
	ck_assert_int_eq(lab.net[0].sharing, SHARING_COPY);
	ck_assert_int_eq(lab.net[1].uplink, UPLINK_BRIDGE);
	ck_assert_str_eq(lab.net[1].uplink_name, "br0");
	ck_assert_int_eq(lab.net[1].crosstalk, CROSSTALK_STATIC);
	ck_assert_int_eq(lab.net[1].sharing, SHARING_AUTO);
	ck_assert_uint_eq(lab.net[1].crosstalk_threshold, 256);
	ck_assert_uint_eq(lab.net[1].crosstalk_share, 51);
	ck_assert_uint_eq(lab.net[1].crosstalk_window, 256);
	ck_assert_uint_eq(lab.net[1].receiver_hold_us, 1000000);
	ck_assert_uint_eq(lab.net[1].slot_deadline_us, 1000000);
	ck_assert_uint_eq(lab.net[2].crosstalk_threshold, 1);
	ck_assert_uint_eq(lab.net[2].crosstalk_share, 100);
	ck_assert_uint_eq(lab.net[2].crosstalk_window, 1);
	ck_assert_uint_eq(lab.net[2].receiver_hold_us, 0);
	ck_assert_uint_eq(lab.net[3].crosstalk_share, 66);
	ck_assert_uint_eq(lab.net[3].receiver_hold_us, 1);
	ck_assert_uint_eq(lab.net[3].slot_deadline_us, 1000);
	ck_assert(!lab.nic[1].promiscuous);
	ck_assert(lab.nic[0].promiscuous);

	const struct guest_config *a = &lab.guest[0], *b = &lab.guest[1];
	ck_assert_str_eq(a->initrd, "i");
	ck_assert_uint_eq(a->nr_modules, 2);
	ck_assert_str_eq(a->module[0].path, "m");
	ck_assert_str_eq(a->module[0].args, "");
	ck_assert_str_eq(a->module[1].path, "sub/k");
	ck_assert_str_eq(a->module[1].args, "one  two=2 ; three");
	ck_assert_str_eq(a->cmdline, "root=/dev/vda ro");
	ck_assert_uint_eq(a->memory_bytes, GIB(1));
	ck_assert_uint_eq(a->cpus, 64);
	ck_assert_int_eq(a->console.kind, CONSOLE_FILE);
	ck_assert_str_eq(a->console.path, "log");
	ck_assert_int_eq(a->virtio_console.kind, CONSOLE_UNIX);
	ck_assert_str_eq(a->virtio_console.path, "sub/s");
	ck_assert_str_eq(a->domain, "d1");
	ck_assert_int_eq(a->transport, TRANSPORT_MMIO);
	ck_assert_int_eq(a->hugepages, HUGEPAGES_2M);
	ck_assert(a->prealloc);
	ck_assert(a->rng);
	ck_assert_int_eq(a->on_reboot, END_STOP);
	ck_assert_int_eq(a->on_crash, END_RESTART);
	ck_assert_str_eq(b->kernel, "/proc/self/exe");
	ck_assert_int_eq(b->hugepages, HUGEPAGES_1G);
	ck_assert_int_eq(b->console.kind, CONSOLE_NONE);
	ck_assert_int_eq(b->virtio_console.kind, CONSOLE_PTY);

	const struct nic_config *of_b = &lab.nic[0], *of_a = &lab.nic[1];
	ck_assert_uint_eq(of_b->guest, 1);
	ck_assert_uint_eq(of_b->net, 1);
	ck_assert(of_b->mac_given);
	ck_assert_int_eq(of_b->slots, SLOTS_STABLE);
	ck_assert(of_b->receive_readonly);
	ck_assert_int_eq(of_a->slots, SLOTS_FRESH);
	ck_assert(!of_a->receive_readonly);
	expect_mac(of_b, "02:00:00:00:00:0a");
	ck_assert_int_eq(of_b->peer, 1);
	ck_assert_uint_eq(of_a->guest, 0);
	ck_assert_int_eq(of_a->peer, 0); /* coupled by the other side's word */

	ck_assert_uint_eq(lab.disk[0].guest, 1);
	ck_assert(lab.disk[0].readonly);
	ck_assert_str_eq(lab.disk[0].id, "serial-1");
	config_free(&lab);
}
END_TEST

START_TEST(mutual_peers)
{
	struct lab_config lab;

	config_fixture_load_good(A "[vm b]\nkernel = k\n[net n]\n"
				   "[nic a.x]\nnet = n\npeer = b.x\n[nic a.y]\nnet = n\n"
				   "[nic b.x]\nnet = n\npeer = a.x\n",
				 &lab);
	ck_assert_int_eq(lab.nic[0].peer, 2);
	ck_assert_int_eq(lab.nic[1].peer, -1);
	ck_assert_int_eq(lab.nic[2].peer, 0);
	config_free(&lab);
}
END_TEST

START_TEST(layout_of_lines)
{
	struct lab_config lab;

	/* CR LF, a byte order mark, indentation, comments of all kinds, no end to the last line. */
	config_fixture_load_good("\xef\xbb\xbf; first\r\n\r\n   # second\r\n"
				 "  [ vm\t a ]\t; third\r\n\tkernel=k\t; fourth = x\r\n"
				 "   memory  =\t32M   \r\n  cpus = 2 ;\r\n"
				 "[vm caf]  # \303\251 \360\237\220\247\n kernel = sub/k",
				 &lab);
	ck_assert_uint_eq(lab.nr_guests, 2);
	ck_assert_str_eq(lab.guest[0].name, "a");
	ck_assert_uint_eq(lab.guest[0].line, 4);
	ck_assert_str_eq(lab.guest[0].kernel, "k");
	ck_assert_uint_eq(lab.guest[0].memory_bytes, MIB(32));
	ck_assert_uint_eq(lab.guest[0].cpus, 2);
	ck_assert_str_eq(lab.guest[1].name, "caf");
	ck_assert_str_eq(lab.guest[1].kernel, "sub/k");
	config_free(&lab);
}
END_TEST

/* A kernel command line of the given length with everything in it that an INI file might trip on.
 */
static char *long_cmdline(size_t len)
{
	static const char piece[] = "root=UUID=1=2 ; dyndbg=\"func a +p ;func b\" # [vm x] k: v ";
	char *text = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		text[i] = piece[i % (sizeof(piece) - 1)];
	text[len - 1] = '.';
	text[len] = '\0';
	return text;
}

START_TEST(cmdline_arrives_whole)
{
	/* The longest line holds 8192 bytes, 10 of them for "cmdline = ". */
	static const size_t lengths[] = {
		150, 189, 190, 191, 199, 200, 201, 400, 2000, 2047, 8182
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		char *cmdline = long_cmdline(lengths[i]), *text = NULL;
		struct lab_config lab;
		ck_assert_int_ge(asprintf(&text, A "cmdline = %s\r\ncpus = 3\n", cmdline), 0);
		config_fixture_load_good(text, &lab);
		ck_assert_str_eq(lab.guest[0].cmdline, cmdline);
		ck_assert_uint_eq(lab.guest[0].cpus, 3);
		config_free(&lab);
		free(text);
		free(cmdline);
	}
}
END_TEST

START_TEST(cmdline_that_begins_oddly)
{
	static const char *const cmdlines[] = { "; x", "# x", "= x", ": x", "[x]", "" };

	for (unsigned i = 0; i < ARRAY_SIZE(cmdlines); i++) {
		char *text = NULL;
		struct lab_config lab;
		ck_assert_int_ge(asprintf(&text, A "cmdline =  %s  \n", cmdlines[i]), 0);
		config_fixture_load_good(text, &lab);
		ck_assert_str_eq(lab.guest[0].cmdline, cmdlines[i]);
		config_free(&lab);
		free(text);
	}
}
END_TEST

START_TEST(long_comment)
{
	char *comment = long_cmdline(8000), *text = NULL;
	struct lab_config lab;

	ck_assert_int_ge(asprintf(&text, "; %s\n" A "cpus = 2 ; %s\n", comment, comment), 0);
	config_fixture_load_good(text, &lab);
	ck_assert_uint_eq(lab.guest[0].cpus, 2);
	config_free(&lab);
	free(text);
	free(comment);
}
END_TEST

START_TEST(long_names)
{
	/* 67 bytes between the brackets: more than libinih's own limit of 49. */
#define NAME31 "abcdefghijklmnopqrstuvwxyz01234"
	struct lab_config lab;

	config_fixture_load_good("[net n]\n[vm " NAME31 "]\nkernel = k\n"
				 "[nic " NAME31 "." NAME31 "]\nnet = n\n",
				 &lab);
	ck_assert_str_eq(lab.nic[0].full_name, NAME31 "." NAME31);
	ck_assert_str_eq(lab.nic[0].name, NAME31);
	config_free(&lab);
}
END_TEST

static void expect_lab_name(const char *path, const char *name)
{
	struct lab_config lab;
	FILE *in = fmemopen((void *)(uintptr_t) "[vm a]\nkernel = /proc/self/exe\n", 31, "r");

	ck_assert_int_eq(config_load_stream(in, path, 0, stderr, &lab), 0);
	fclose(in);
	ck_assert_str_eq(lab.path, path);
	ck_assert_str_eq(lab.name, name);
	config_free(&lab);
}

START_TEST(lab_names)
{
	expect_lab_name("vm.ini", "vm");
	expect_lab_name("/etc/xvmm/two.guests.ini", "two-guests");
	expect_lab_name("dir.d/noextension", "noextension");
	expect_lab_name("my lab\303\244.ini", "my-lab--");
	expect_lab_name(".ini", "lab");
	expect_lab_name("-x.ini", "lab");
	expect_lab_name("abcdefghijklmnopqrstuvwxyz0123456789.ini",
			"abcdefghijklmnopqrstuvwxyz01234");
}
END_TEST

START_TEST(paths_beside_the_file)
{
	static const char text[] = "[vm a]\nkernel = k\nmodule = k x\ninitrd = ../i\n"
				   "console = file:log\n";
	struct lab_config lab;

	config_fixture_write("sub/x.ini", text, strlen(text));
	ck_assert_int_eq(config_load("sub/x.ini", 0, stderr, &lab), 0);
	ck_assert_str_eq(lab.name, "x");
	ck_assert_str_eq(lab.guest[0].kernel, "sub/k");
	ck_assert_str_eq(lab.guest[0].initrd, "sub/../i");
	ck_assert_str_eq(lab.guest[0].module[0].path, "sub/k");
	ck_assert_str_eq(lab.guest[0].module[0].args, "x");
	ck_assert_str_eq(lab.guest[0].console.path, "sub/log");
	config_free(&lab);
}
END_TEST

START_TEST(memory_that_just_fits)
{
	struct lab_config lab;
	static const char text[] = A "memory = 300M\n[vm b]\nkernel = k\nmemory = 212M\n";
	char *printed;

	ck_assert_int_eq(config_fixture_load(text, strlen(text), MIB(512), &lab, &printed), 0);
	ck_assert_str_eq(printed, "");
	config_free(&lab);
	free(printed);
}
END_TEST

START_TEST(shared_files)
{
	struct lab_config lab;

	/* One kernel, one disk that all only read, a sink for all that they say. */
	config_fixture_load_good(A "console = file:/dev/null\n[vm b]\nkernel = k\n"
				   "console = file:/dev/null\ninitrd = k\n"
				   "[disk a.x]\npath = d\nreadonly = yes\n"
				   "[disk b.x]\npath = ./d\nreadonly = yes\n",
				 &lab);
	config_free(&lab);
}
END_TEST

START_TEST(derived_macs)
{
	struct lab_config one, two;

	config_fixture_load_good(A "[vm b]\nkernel = k\n[net n]\n[nic a.x]\nnet = n\n"
				   "[nic b.x]\nnet = n\n",
				 &one);
	config_fixture_load_good("[nic b.x]\nnet = n\n[nic a.x]\nnet = n\n[net n]\n"
				 "[vm b]\nkernel = k\n" A,
				 &two);
	ck_assert_mem_eq(one.nic[0].mac, two.nic[1].mac, 6);
	ck_assert_mem_eq(one.nic[1].mac, two.nic[0].mac, 6);
	ck_assert_mem_ne(one.nic[0].mac, one.nic[1].mac, 6);

	uint8_t mac[6];
	config_derive_mac("vm", "a.x", mac);
	ck_assert_mem_eq(one.nic[0].mac, mac, 6);
	config_free(&one);
	config_free(&two);
}
END_TEST

START_TEST(derived_mac_meets_a_given_one)
{
	struct lab_config lab;
	uint8_t mac[6];
	char *text = NULL;

	/* The address of a.x is given to a.y, and the next one to a.z: a.x has to go two further.
	 */
	config_derive_mac("vm", "a.x", mac);
	ck_assert_int_ge(asprintf(&text,
				  A "[net n]\n[nic a.x]\nnet = n\n"
				    "[nic a.y]\nnet = n\nmac = 52:54:00:%02x:%02x:%02x\n"
				    "[nic a.z]\nnet = n\nmac = 52:54:00:%02x:%02x:%02x\n",
				  mac[3], mac[4], mac[5], mac[3], mac[4], mac[5] + 1),
			 0);
	ck_assert_uint_lt(mac[5], 0xfe); /* so that the sums above are bytes */
	config_fixture_load_good(text, &lab);
	mac[5] += 2;
	ck_assert_mem_eq(lab.nic[0].mac, mac, 6);
	config_free(&lab);
	free(text);
}
END_TEST

/* Two NIC names of guest a with one derived address. */
static void find_twins(unsigned *first, unsigned *second)
{
	enum { NR = 1 << 14 };
	uint32_t *seen = malloc(NR * sizeof(*seen));

	for (unsigned i = 0; i < NR; i++) {
		char name[32];
		uint8_t mac[6];
		snprintf(name, sizeof(name), "a.%u", i);
		config_derive_mac("vm", name, mac);
		seen[i] = (uint32_t)mac[3] << 16 | mac[4] << 8 | mac[5];
		for (unsigned j = 0; j < i; j++) {
			if (seen[j] == seen[i]) {
				*first = j;
				*second = i;
				free(seen);
				return;
			}
		}
	}
	ck_abort_msg("no two of %d names collide", NR);
}

START_TEST(derived_macs_meet)
{
	struct lab_config one, two;
	unsigned i, j;
	char *text = NULL;

	find_twins(&i, &j);
	ck_assert_int_ge(
		asprintf(&text, A "[net n]\n[nic a.%u]\nnet = n\n[nic a.%u]\nnet = n\n", i, j), 0);
	config_fixture_load_good(text, &one);
	free(text);
	ck_assert_int_ge(
		asprintf(&text, A "[net n]\n[nic a.%u]\nnet = n\n[nic a.%u]\nnet = n\n", j, i), 0);
	config_fixture_load_good(text, &two);
	free(text);
	ck_assert_mem_ne(one.nic[0].mac, one.nic[1].mac, 6);
	ck_assert_mem_eq(one.nic[0].mac, two.nic[1].mac, 6);
	ck_assert_mem_eq(one.nic[1].mac, two.nic[0].mac, 6);
	config_free(&one);
	config_free(&two);
}
END_TEST

START_TEST(many_guests)
{
	struct lab_config lab;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fputs("[net n]\n", f);
	for (unsigned i = 0; i < 64; i++)
		fprintf(f,
			"[vm g%u]\nkernel = k\nmemory = 2M\nconsole = none\n[nic g%u.eth0]\n"
			"net = n\n",
			i, i);
	fclose(f);
	config_fixture_load_good(text, &lab);
	ck_assert_uint_eq(lab.nr_guests, 64);
	ck_assert_uint_eq(lab.nr_nics, 64);
	ck_assert_uint_eq(lab.nic[63].guest, 63);
	config_free(&lab);
	free(text);
}
END_TEST

static char *read_whole(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = fopen(path, "re");

	ck_assert_msg(f, "%s: run this from the top of the source tree", path);
	ck_assert_int_gt(getdelim(&text, &size, '\0', f), 0);
	fclose(f);
	return text;
}

START_TEST(example)
{
	static const char *const images[] = { "guests/images/vmlinuz",	"guests/images/initrd.cpio",
					      "guests/images/root.img", "guests/images/hobby.elf",
					      "guests/images/fs.img",	"guests/images/font.psf" };
	char *text = read_whole("vm.ini.example"), sector[512] = { 0 };
	struct lab_config lab;

	config_fixture_setup();
	ck_assert_int_eq(mkdir("guests", 0777), 0);
	ck_assert_int_eq(mkdir("guests/images", 0777), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(images); i++)
		config_fixture_write(images[i], sector, sizeof(sector));
	config_fixture_load_good(text, &lab);
	ck_assert_uint_eq(lab.nr_guests, 3);
	ck_assert_uint_eq(lab.nr_nets, 2);
	ck_assert_uint_eq(lab.nr_nics, 4);
	ck_assert_uint_eq(lab.nr_disks, 1);
	config_free(&lab);
	config_fixture_teardown();
	free(text);
}
END_TEST

START_TEST(freeing_nothing)
{
	struct lab_config lab = { 0 };

	config_free(&lab);
	config_free(&lab);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *tc = tcase_create("model");

	tcase_add_checked_fixture(tc, config_fixture_setup, config_fixture_teardown);
	tcase_add_test(tc, defaults);
	tcase_add_test(tc, everything);
	tcase_add_test(tc, mutual_peers);
	tcase_add_test(tc, layout_of_lines);
	tcase_add_test(tc, cmdline_arrives_whole);
	tcase_add_test(tc, cmdline_that_begins_oddly);
	tcase_add_test(tc, long_comment);
	tcase_add_test(tc, long_names);
	tcase_add_test(tc, lab_names);
	tcase_add_test(tc, paths_beside_the_file);
	tcase_add_test(tc, memory_that_just_fits);
	tcase_add_test(tc, shared_files);
	tcase_add_test(tc, derived_macs);
	tcase_add_test(tc, derived_mac_meets_a_given_one);
	tcase_add_test(tc, derived_macs_meet);
	tcase_add_test(tc, many_guests);
	tcase_add_test(tc, freeing_nothing);
	suite_add_tcase(s, tc);

	TCase *own = tcase_create("example");
	tcase_add_test(own, example);
	suite_add_tcase(s, own);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
