/* Every mistake that a vm.ini can hold: the exact line, and no other. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/config_fixture.h"

struct mistake {
	const char *name;
	const char *ini;
	const char *printed;
};

#define A "[vm a]\nkernel = k\n"  /* two lines */
#define B "[vm b]\nkernel = k2\n" /* two lines */
#define N "[net n]\n"		  /* one line */
#define NAMES                                                                                     \
	"a name is made of letters, digits, '-' and '_', a letter or digit first, at most 31 of " \
	"them"
#define NAME32 "abcdefghijklmnopqrstuvwxyz012345"
#define PATH30 "abcdefghijklmnopqrstuvwxyz0123"

/* One line for each is worth more here than the width of the page. */
/* clang-format off */
static const struct mistake mistakes[] = {
	/* The text */
	{"empty file", "", "vm.ini: there is no guest in it: add a section [vm NAME]\n"},
	{"only comments", "; a\n# b\n\n", "vm.ini: there is no guest in it: add a section [vm NAME]\n"},
	{"no guest", N, "vm.ini: there is no guest in it: add a section [vm NAME]\n"},
	{"no equals sign", A "memory 256M\n", "vm.ini:3: [vm a]: 'memory 256M': there is no '=' in this line: write KEY = VALUE\n"},
	{"no equals sign at the end of the file", A "memory 256M", "vm.ini:3: [vm a]: 'memory 256M': there is no '=' in this line: write KEY = VALUE\n"},
	{"no equals sign before a comment", A "memory ; = 256M\n", "vm.ini:3: [vm a]: 'memory ; = 256M': there is no '=' in this line: write KEY = VALUE\n"},
	{"no equals sign, indented", A "  memory\t\r\n", "vm.ini:3: [vm a]: 'memory': there is no '=' in this line: write KEY = VALUE\n"},
	{"no equals sign in the missing key", "[vm a]\nkernel k\n", "vm.ini:2: [vm a]: 'kernel k': there is no '=' in this line: write KEY = VALUE\n"},
	{"colon", A "memory: 256M\n", "vm.ini:3: [vm a]: 'memory: 256M': a ':' where the '=' should be: write KEY = VALUE\n"},
	{"colon before the equals sign", A "console unix:x = y\n", "vm.ini:3: [vm a]: 'console unix:x = y': a ':' where the '=' should be: write KEY = VALUE\n"},
	{"no key", A "= 3\n", "vm.ini:3: [vm a]: no key in front of the '='\n"},
	{"before the first section", "kernel = k\n" A, "vm.ini:1: 'kernel' stands before the first section: put it below a header such as [vm NAME]\n"},
	{"garbage before the first section", "hello world\n" A, "vm.ini:1: 'hello world': there is no '=' in this line: write KEY = VALUE\n"},
	{"control character", A "cmdline = a\001b\n", "vm.ini:3: [vm a]: byte 0x01 in column 12 is not UTF-8 text\n"},
	{"delete character", A "cmdline = \177\n", "vm.ini:3: [vm a]: byte 0x7f in column 11 is not UTF-8 text\n"},
	{"carriage return within", A "cmdline = a\rb\n", "vm.ini:3: [vm a]: byte 0x0d in column 12 is not UTF-8 text\n"},
	{"C1 control character", A "; \302\205\n", "vm.ini:3: [vm a]: byte 0xc2 in column 3 is not UTF-8 text\n"},
	{"Latin-1", A "; caf\351\n", "vm.ini:3: [vm a]: byte 0xe9 in column 6 is not UTF-8 text\n"},
	{"overlong UTF-8", A "; \300\257\n", "vm.ini:3: [vm a]: byte 0xc0 in column 3 is not UTF-8 text\n"},
	{"surrogate", A "; \355\240\200\n", "vm.ini:3: [vm a]: byte 0xed in column 3 is not UTF-8 text\n"},
	{"behind Unicode", A "; \364\220\200\200\n", "vm.ini:3: [vm a]: byte 0xf4 in column 3 is not UTF-8 text\n"},
	{"cut UTF-8", A "; \342\202", "vm.ini:3: [vm a]: byte 0xe2 in column 3 is not UTF-8 text\n"},
	{"control character in the missing key", "[vm a]\nkernel = \033[31m\n", "vm.ini:2: [vm a]: byte 0x1b in column 10 is not UTF-8 text\n"},
	{"control character in a header", A "[vm \001]\nkernel = k\n", "vm.ini:3: byte 0x01 in column 5 is not UTF-8 text\n"},

	/* Sections */
	{"unknown section", A "[printer p]\nx = y\n", "vm.ini:3: [printer p]: unknown kind of section; there are [lab], [net NAME], [vm NAME], [nic GUEST.NAME] and [disk GUEST.NAME]\n"},
	{"misspelt section", A "[dosk a.x]\npath = d\n", "vm.ini:3: [dosk a.x]: unknown kind of section; did you mean [disk a.x]?\n"},
	{"misspelt lab", A "[lap]\n", "vm.ini:3: [lap]: unknown kind of section; did you mean [lab]?\n"},
	{"misspelt only guest", "[wm a]\nkernel = k\n", "vm.ini:1: [wm a]: unknown kind of section; did you mean [vm a]?\n"},
	{"upper case section", "[VM a]\nkernel = k\n" B, "vm.ini:1: [VM a]: unknown kind of section; there are [lab], [net NAME], [vm NAME], [nic GUEST.NAME] and [disk GUEST.NAME]\n"},
	{"empty header", A "[]\n", "vm.ini:3: []: unknown kind of section; there are [lab], [net NAME], [vm NAME], [nic GUEST.NAME] and [disk GUEST.NAME]\n"},
	{"open header", A "[net n\nuplink = none\n", "vm.ini:3: '[net n': the ']' is missing\n"},
	{"text behind a header", A "[net n] uplink = none\n", "vm.ini:3: [net n]: 'uplink = none' behind the ']': put it on a line of its own\n"},
	{"guest without name", A "[vm]\nkernel = k\n", "vm.ini:3: [vm]: has no name: write [vm NAME]\n"},
	{"NIC without name", A "[nic ]\n", "vm.ini:3: [nic]: has no name: write [nic GUEST.NAME]\n"},
	{"lab with a name", A "[lab x]\n", "vm.ini:3: [lab x]: this section takes no name here: write [lab] and 'name = x' in it\n"},
	{"lab given twice", "[lab]\n" A "[lab]\n", "vm.ini:4: [lab]: was given already, in line 1\n"},
	{"net given twice", N A N, "vm.ini:4: [net n]: was given already, in line 1\n"},
	{"guest given twice", A "[ vm  a ]\nkernel = k2\nkernle = x\n", "vm.ini:3: [vm a]: was given already, in line 1\n" "vm.ini:5: [vm a]: unknown key 'kernle'; did you mean 'kernel'?\n"},
	{"NIC given twice", N A "[nic a.x]\nnet = n\nmac = 52:54:00:00:00:01\n[nic a.x]\nnet = n\nmac = 52:54:00:00:00:01\n", "vm.ini:7: [nic a.x]: was given already, in line 4\n"},
	{"disk given twice", A "[disk a.x]\npath = d\n[disk a.x]\npath = e\n", "vm.ini:5: [disk a.x]: was given already, in line 3\n"},
	{"bad guest name", "[vm a b]\nkernel = k\n", "vm.ini:1: [vm a b]: " NAMES "\n"},
	{"dot in a guest's name", "[vm a.b]\nkernel = k\n", "vm.ini:1: [vm a.b]: " NAMES "\n"},
	{"slash in a guest's name", "[vm ../a]\nkernel = k\n", "vm.ini:1: [vm ../a]: " NAMES "\n"},
	{"guest's name with a dash first", "[vm -a]\nkernel = k\n", "vm.ini:1: [vm -a]: " NAMES "\n"},
	{"long guest name", "[vm " NAME32 "]\nkernel = k\n", "vm.ini:1: [vm " NAME32 "]: " NAMES "\n"},
	{"bad net name", A "[net \303\244]\n", "vm.ini:3: [net \303\244]: " NAMES "\n"},
	{"bad NIC name", N A "[nic a.e/0]\nnet = n\n", "vm.ini:4: [nic a.e/0]: behind the dot, " NAMES "\n"},
	{"two dots", N A "[nic a.b.c]\nnet = n\n", "vm.ini:4: [nic a.b.c]: behind the dot, " NAMES "\n"},
	{"empty disk name", A "[disk a.]\npath = d\n", "vm.ini:3: [disk a.]: behind the dot, " NAMES "\n"},
	{"NIC without guest", N A "[nic eth0]\nnet = n\n", "vm.ini:4: [nic eth0]: the guest is missing: write [nic GUEST.eth0]\n"},
	{"disk without guest", A "[disk root]\npath = d\n", "vm.ini:3: [disk root]: the guest is missing: write [disk GUEST.root]\n"},

	/* Keys */
	{"unknown key", A "colour = red\n", "vm.ini:3: [vm a]: unknown key 'colour'; there are: kernel, initrd, module, cmdline, memory, cpus, console, virtio-console, domain, transport, hugepages, prealloc, rng, on-reboot, on-crash\n"},
	{"misspelt key", A "memroy = 1M\n", "vm.ini:3: [vm a]: unknown key 'memroy'; did you mean 'memory'?\n"},
	{"misspelt missing key", "[vm a]\nkernal = k\n", "vm.ini:2: [vm a]: unknown key 'kernal'; did you mean 'kernel'?\n"},
	{"unknown key of the lab", A "[lab]\ntimeout = 3\n", "vm.ini:4: [lab]: unknown key 'timeout'; there are: name, shutdown-timeout\n"},
	{"unknown key of a net", A N "mtu = 9000\n", "vm.ini:4: [net n]: unknown key 'mtu'; there are: uplink, crosstalk, crosstalk-threshold, crosstalk-share, crosstalk-window, receiver-hold, slot-deadline, memory\n"},
	{"unknown key of a NIC", A N "[nic a.x]\nnet = n\nqueues = 2\n", "vm.ini:6: [nic a.x]: unknown key 'queues'; there are: net, mac, peer, model, promiscuous, slots, receive-view\n"},
	{"unknown key of a disk", A "[disk a.x]\npath = d\nread-only = yes\n", "vm.ini:5: [disk a.x]: unknown key 'read-only'; did you mean 'readonly'?\n"},
	{"key given twice", A "cpus = 1\n\ncpus = 2\n", "vm.ini:5: [vm a]: 'cpus' was given already, in line 3\n"},
	{"key given twice, indented", A "  cpus = 1\n  cpus = 2\n", "vm.ini:4: [vm a]: 'cpus' was given already, in line 3\n"},
	{"no value", A "memory =\n", "vm.ini:3: [vm a]: 'memory' has no value: give it one, or leave the line out\n"},
	{"only a comment as value", A "memory = ; 4G\n", "vm.ini:3: [vm a]: 'memory' has no value: give it one, or leave the line out\n"},
	{"kernel without value", "[vm a]\nkernel =\n", "vm.ini:2: [vm a]: 'kernel' has no value: give it one, or leave the line out\n"},
	{"kernel missing", "[vm a]\ncpus = 1\n", "vm.ini:1: [vm a]: 'kernel' is missing\n"},
	{"net missing", N A "[nic a.x]\n", "vm.ini:4: [nic a.x]: 'net' is missing\n"},
	{"disk path missing", A "[disk a.x]\n", "vm.ini:3: [disk a.x]: 'path' is missing\n"},

	/* Values */
	{"lab name", A "[lab]\nname = my lab\n", "vm.ini:4: [lab]: name = my lab: " NAMES "\n"},
	{"shutdown-timeout", A "[lab]\nshutdown-timeout = 3601\n", "vm.ini:4: [lab]: shutdown-timeout = 3601: must be a whole number from 0 to 3600\n"},
	{"shutdown-timeout with unit", A "[lab]\nshutdown-timeout = 30s\n", "vm.ini:4: [lab]: shutdown-timeout = 30s: must be a whole number from 0 to 3600\n"},
	{"no CPU", A "cpus = 0\n", "vm.ini:3: [vm a]: cpus = 0: must be a whole number from 1 to 64\n"},
	{"too many CPUs", A "cpus = 65\n", "vm.ini:3: [vm a]: cpus = 65: must be a whole number from 1 to 64\n"},
	{"negative CPUs", A "cpus = -1\n", "vm.ini:3: [vm a]: cpus = -1: must be a whole number from 1 to 64\n"},
	{"CPUs beyond 64 bits", A "cpus = 18446744073709551617\n", "vm.ini:3: [vm a]: cpus = 18446744073709551617: must be a whole number from 1 to 64\n"},
	{"size", A "memory = 256MB\n", "vm.ini:3: [vm a]: memory = 256MB: must be a size such as 256M or 4G (units K, M, G, T)\n"},
	{"fraction of a size", A "memory = 1.5G\n", "vm.ini:3: [vm a]: memory = 1.5G: must be a size such as 256M or 4G (units K, M, G, T)\n"},
	{"negative size", A "memory = -1G\n", "vm.ini:3: [vm a]: memory = -1G: must be a size such as 256M or 4G (units K, M, G, T)\n"},
	{"too little memory", A "memory = 512K\n", "vm.ini:3: [vm a]: memory = 512K: must be from 1M to 4T\n"},
	{"megabytes forgotten", A "memory = 256\n", "vm.ini:3: [vm a]: memory = 256: must be from 1M to 4T\n"},
	{"too much memory for any host", A "memory = 5T\n", "vm.ini:3: [vm a]: memory = 5T: must be from 1M to 4T\n"},
	{"memory beyond 64 bits", A "memory = 16777216T\n", "vm.ini:3: [vm a]: memory = 16777216T: must be from 1M to 4T\n"},
	{"odd memory", A "memory = 1049600\n", "vm.ini:3: [vm a]: memory = 1049600: must be a multiple of 1M; 2M would do\n"},
	{"memory against hugepages", A "memory = 255M\nhugepages = 2M\n", "vm.ini:3: [vm a]: memory = 255M: must be a multiple of the hugepages' 2M\n"},
	{"default memory against hugepages", A "hugepages = 1G\n", "vm.ini:1: [vm a]: memory = 256M: must be a multiple of the hugepages' 1G\n"},
	{"bad memory and hugepages", A "memory = lots\nhugepages = 1G\n", "vm.ini:3: [vm a]: memory = lots: must be a size such as 256M or 4G (units K, M, G, T)\n"},
	{"bool", A "rng = true\n", "vm.ini:3: [vm a]: rng = true: must be yes or no\n"},
	{"upper case bool", A "prealloc = Yes\n", "vm.ini:3: [vm a]: prealloc = Yes: must be yes or no; did you mean 'yes'?\n"},
	{"console", A "console = tty\n", "vm.ini:3: [vm a]: console = tty: must be none, stdio, file:PATH, pty or unix:PATH; did you mean 'pty'?\n"},
	{"console without path", A "console = file:\n", "vm.ini:3: [vm a]: console = file:: the path is missing: write file:PATH\n"},
	{"console without colon", A "virtio-console = unix\n", "vm.ini:3: [vm a]: virtio-console = unix: must be none, stdio, file:PATH, pty or unix:PATH; did you mean 'unix:'?\n"},
	{"domain", A "domain = a/b\n", "vm.ini:3: [vm a]: domain = a/b: " NAMES "\n"},
	{"transport", A "transport = PCIe\n", "vm.ini:3: [vm a]: transport = PCIe: must be pci or mmio\n"},
	{"hugepages", A "hugepages = 4M\n", "vm.ini:3: [vm a]: hugepages = 4M: must be no, 2M, 1G or yes (which is 2M); did you mean '2M'?\n"},
	{"on-reboot", A "on-reboot = halt\n", "vm.ini:3: [vm a]: on-reboot = halt: must be stop or restart\n"},
	{"on-crash", A "on-crash = restrat\n", "vm.ini:3: [vm a]: on-crash = restrat: must be stop or restart; did you mean 'restart'?\n"},
	{"nine modules", A "module = m\nmodule = m\nmodule = m\nmodule = m\nmodule = m\nmodule = m\nmodule = m\nmodule = m\nmodule = m x\n", "vm.ini:11: [vm a]: module = m x: a guest has at most 8 modules\n"},
	{"a long value is cut in the message", A "rng = " NAME32 NAME32 NAME32 "\n", "vm.ini:3: [vm a]: rng = " NAME32 "abcdefghijklmnopqrstuvwxyz01...: must be yes or no\n"},
	{"a long value is not cut within a character", A "rng = " PATH30 PATH30 "\303\244\303\244\303\244\n", "vm.ini:3: [vm a]: rng = " PATH30 PATH30 "...: must be yes or no\n"},

	/* Nets */
	{"uplink", A N "uplink = eth0\n", "vm.ini:4: [net n]: uplink = eth0: must be none, tap:NAME or bridge:NAME\n"},
	{"misspelt uplink", A N "uplink = non\n", "vm.ini:4: [net n]: uplink = non: must be none, tap:NAME or bridge:NAME; did you mean 'none'?\n"},
	{"TAP without name", A N "uplink = tap:\n", "vm.ini:4: [net n]: uplink = tap:: the name is missing for a network interface: write tap:NAME\n"},
	{"bridge without colon", A N "uplink = bridge\n", "vm.ini:4: [net n]: uplink = bridge: must be none, tap:NAME or bridge:NAME; did you mean 'bridge:'?\n"},
	{"long interface name", A N "uplink = tap:abcdefghijklmnop\n", "vm.ini:4: [net n]: uplink = tap:abcdefghijklmnop: a network interface's name has at most 15 bytes, this has 16\n"},
	{"bad interface name", A N "uplink = bridge:a/b\n", "vm.ini:4: [net n]: uplink = bridge:a/b: not a name for a network interface: write bridge:NAME\n"},
	{"interface name that is a pattern", A N "uplink = tap:xv%d\n", "vm.ini:4: [net n]: uplink = tap:xv%d: not a name for a network interface: write tap:NAME\n"},
	{"interface name that is an option", A N "uplink = tap:-4\n", "vm.ini:4: [net n]: uplink = tap:-4: not a name for a network interface: write tap:NAME\n"},
	{"crosstalk", A N "crosstalk = on\n", "vm.ini:4: [net n]: crosstalk = on: must be off, dynamic or static\n"},
	{"threshold of 0", A N "crosstalk-threshold = 0\n", "vm.ini:4: [net n]: crosstalk-threshold = 0: must be a whole number from 1 to 256\n"},
	{"threshold of 257", A N "crosstalk-threshold = 257\n", "vm.ini:4: [net n]: crosstalk-threshold = 257: must be a whole number from 1 to 256\n"},
	{"threshold of -1", A N "crosstalk-threshold = -1\n", "vm.ini:4: [net n]: crosstalk-threshold = -1: must be a whole number from 1 to 256\n"},
	{"threshold of 8.5", A N "crosstalk-threshold = 8.5\n", "vm.ini:4: [net n]: crosstalk-threshold = 8.5: must be a whole number from 1 to 256\n"},
	{"threshold of 8 frames", A N "crosstalk-threshold = 8 frames\n", "vm.ini:4: [net n]: crosstalk-threshold = 8 frames: must be a whole number from 1 to 256\n"},
	{"window of 0", A N "crosstalk-window = 0\n", "vm.ini:4: [net n]: crosstalk-window = 0: must be a whole number from 1 to 256\n"},
	{"window of 257", A N "crosstalk-window = 257\n", "vm.ini:4: [net n]: crosstalk-window = 257: must be a whole number from 1 to 256\n"},
	{"window of 1s", A N "crosstalk-window = 1s\n", "vm.ini:4: [net n]: crosstalk-window = 1s: must be a whole number from 1 to 256\n"},
	{"window of 99999999999999999999999", A N "crosstalk-window = 99999999999999999999999\n", "vm.ini:4: [net n]: crosstalk-window = 99999999999999999999999: must be a whole number from 1 to 256\n"},
	{"threshold above the window", A N "crosstalk-threshold = 9\ncrosstalk-window = 8\n", "vm.ini:4: [net n]: crosstalk-threshold = 9: must not be above crosstalk-window, which is 8\n"},
	{"threshold above the usual window", A N "crosstalk-threshold = 33\n", "vm.ini:4: [net n]: crosstalk-threshold = 33: must not be above crosstalk-window, which is 32 where it is left out\n"},
	{"window below the usual threshold", A N "crosstalk-window = 7\n", "vm.ini:4: [net n]: crosstalk-window = 7: must hold crosstalk-threshold, which is 8 where it is left out\n"},
	{"bad threshold and small window", A N "crosstalk-threshold = x\ncrosstalk-window = 7\n", "vm.ini:4: [net n]: crosstalk-threshold = x: must be a whole number from 1 to 256\n"},
	{"bad window and large threshold", A N "crosstalk-threshold = 200\ncrosstalk-window = 300\n", "vm.ini:5: [net n]: crosstalk-window = 300: must be a whole number from 1 to 256\n"},
	{"share of 50", A N "crosstalk-share = 50\n", "vm.ini:4: [net n]: crosstalk-share = 50: must be a whole percentage from 51% to 100%\n"},
	{"share of 101%", A N "crosstalk-share = 101%\n", "vm.ini:4: [net n]: crosstalk-share = 101%: must be a whole percentage from 51% to 100%\n"},
	{"share of 75%%", A N "crosstalk-share = 75%%\n", "vm.ini:4: [net n]: crosstalk-share = 75%%: must be a whole percentage from 51% to 100%\n"},
	{"share of 75 % of", A N "crosstalk-share = 75 % of\n", "vm.ini:4: [net n]: crosstalk-share = 75 % of: must be a whole percentage from 51% to 100%\n"},
	{"share of three quarters", A N "crosstalk-share = three quarters\n", "vm.ini:4: [net n]: crosstalk-share = three quarters: must be a whole percentage from 51% to 100%\n"},
	{"share of -75", A N "crosstalk-share = -75\n", "vm.ini:4: [net n]: crosstalk-share = -75: must be a whole percentage from 51% to 100%\n"},
	{"share of 0.75", A N "crosstalk-share = 0.75\n", "vm.ini:4: [net n]: crosstalk-share = 0.75: must be a whole percentage from 51% to 100%\n"},
	{"share of %", A N "crosstalk-share = %\n", "vm.ini:4: [net n]: crosstalk-share = %: must be a whole percentage from 51% to 100%\n"},
	{"hold of 1001ms", A N "receiver-hold = 1001ms\n", "vm.ini:4: [net n]: receiver-hold = 1001ms: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of 1000001", A N "receiver-hold = 1000001\n", "vm.ini:4: [net n]: receiver-hold = 1000001: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of 1s", A N "receiver-hold = 1s\n", "vm.ini:4: [net n]: receiver-hold = 1s: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of 1 ms", A N "receiver-hold = 1 ms\n", "vm.ini:4: [net n]: receiver-hold = 1 ms: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of ms", A N "receiver-hold = ms\n", "vm.ini:4: [net n]: receiver-hold = ms: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of -1", A N "receiver-hold = -1\n", "vm.ini:4: [net n]: receiver-hold = -1: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of 18446744073709551615ms", A N "receiver-hold = 18446744073709551615ms\n", "vm.ini:4: [net n]: receiver-hold = 18446744073709551615ms: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"hold of 1MS", A N "receiver-hold = 1MS\n", "vm.ini:4: [net n]: receiver-hold = 1MS: must be from 0 to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 999us", A N "slot-deadline = 999us\n", "vm.ini:4: [net n]: slot-deadline = 999us: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 0", A N "slot-deadline = 0\n", "vm.ini:4: [net n]: slot-deadline = 0: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 1001ms", A N "slot-deadline = 1001ms\n", "vm.ini:4: [net n]: slot-deadline = 1001ms: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 1000001", A N "slot-deadline = 1000001\n", "vm.ini:4: [net n]: slot-deadline = 1000001: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 999", A N "slot-deadline = 999\n", "vm.ini:4: [net n]: slot-deadline = 999: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 50 ms", A N "slot-deadline = 50 ms\n", "vm.ini:4: [net n]: slot-deadline = 50 ms: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of -50ms", A N "slot-deadline = -50ms\n", "vm.ini:4: [net n]: slot-deadline = -50ms: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 18446744073709551615ms", A N "slot-deadline = 18446744073709551615ms\n", "vm.ini:4: [net n]: slot-deadline = 18446744073709551615ms: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of 1s", A N "slot-deadline = 1s\n", "vm.ini:4: [net n]: slot-deadline = 1s: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"deadline of never", A N "slot-deadline = never\n", "vm.ini:4: [net n]: slot-deadline = never: must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)\n"},
	{"net's memory", A N "memory = 1G\n", "vm.ini:4: [net n]: memory = 1G: must be copy or auto\n"},
	{"one TAP in two nets", A N "uplink = tap:xv0\n[net o]\nuplink = tap:xv0\n", "vm.ini:6: [net o]: uplink = tap:xv0: the interface is [net n]'s already (line 4); nets that share one are one net\n"},
	{"one bridge in two nets", A N "uplink = bridge:br0\n[net o]\nuplink = bridge:br0\n", "vm.ini:6: [net o]: uplink = bridge:br0: the interface is [net n]'s already (line 4); nets that share one are one net\n"},
	{"TAP of one name with another's bridge", A N "uplink = bridge:x\n[net o]\nuplink = tap:x\n", "vm.ini:6: [net o]: uplink = tap:x: the interface is [net n]'s already (line 4); nets that share one are one net\n"},

	/* NICs */
	{"NIC of a guest that does not exist", N A "[nic b.x]\nnet = n\n", "vm.ini:4: [nic b.x]: there is no [vm b]\n"},
	{"NIC of a misspelt guest", N "[vm alpha]\nkernel = k\n[nic alhpa.x]\nnet = n\n", "vm.ini:4: [nic alhpa.x]: there is no [vm alhpa]; did you mean [vm alpha]?\n"},
	{"disk of a guest that does not exist", A "[disk bb.x]\npath = d\n", "vm.ini:3: [disk bb.x]: there is no [vm bb]\n"},
	{"net that does not exist", A "[nic a.x]\nnet = internet\n", "vm.ini:4: [nic a.x]: net = internet: there is no [net internet]\n"},
	{"misspelt net", A "[net lan0]\n[nic a.x]\nnet = lan1\n", "vm.ini:5: [nic a.x]: net = lan1: there is no [net lan1]; did you mean [net lan0]?\n"},
	{"MAC", N A "[nic a.x]\nnet = n\nmac = 52:54:00:00:00\n", "vm.ini:6: [nic a.x]: mac = 52:54:00:00:00: must be six bytes such as 52:54:00:00:00:01\n"},
	{"MAC with dashes", N A "[nic a.x]\nnet = n\nmac = 52-54-00-00-00-01\n", "vm.ini:6: [nic a.x]: mac = 52-54-00-00-00-01: must be six bytes such as 52:54:00:00:00:01\n"},
	{"MAC with other letters", N A "[nic a.x]\nnet = n\nmac = 52:54:00:00:00:0g\n", "vm.ini:6: [nic a.x]: mac = 52:54:00:00:00:0g: must be six bytes such as 52:54:00:00:00:01\n"},
	{"multicast MAC", N A "[nic a.x]\nnet = n\nmac = 01:00:5E:00:00:01\n", "vm.ini:6: [nic a.x]: mac = 01:00:5E:00:00:01: a multicast address: the second digit of a NIC's own address is even\n"},
	{"broadcast MAC", N A "[nic a.x]\nnet = n\nmac = ff:ff:ff:ff:ff:ff\n", "vm.ini:6: [nic a.x]: mac = ff:ff:ff:ff:ff:ff: a multicast address: the second digit of a NIC's own address is even\n"},
	{"zero MAC", N A "[nic a.x]\nnet = n\nmac = 00:00:00:00:00:00\n", "vm.ini:6: [nic a.x]: mac = 00:00:00:00:00:00: all zero is nobody's address; 52:54:00:00:00:01 would do\n"},
	{"duplicate MAC", N A "[nic a.x]\nnet = n\nmac = 52:54:00:00:00:0a\n[nic a.y]\nnet = n\nmac = 52:54:00:00:00:0A\n", "vm.ini:9: [nic a.y]: mac = 52:54:00:00:00:0A: is a.x's already (line 6)\n"},
	{"model", N A "[nic a.x]\nnet = n\nmodel = virtoi\n", "vm.ini:6: [nic a.x]: model = virtoi: must be virtio or e1000; did you mean 'virtio'?\n"},
	{"peer that does not exist", N A "[nic a.eth0]\nnet = n\npeer = z.eth9\n", "vm.ini:6: [nic a.eth0]: peer = z.eth9: there is no [nic z.eth9]; did you mean [nic a.eth0]?\n"},
	{"peer that is nothing like any", N A "[nic a.x]\nnet = n\npeer = router.wan\n", "vm.ini:6: [nic a.x]: peer = router.wan: there is no [nic router.wan]\n"},
	{"its own peer", N A "[nic a.x]\nnet = n\npeer = a.x\n", "vm.ini:6: [nic a.x]: peer = a.x: a NIC can't be its own peer\n"},
	{"peer on another net", N A B "[net o]\n[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = o\n", "vm.ini:9: [nic a.x]: peer = b.x: sits on [net o], this NIC on [net n]; peers share a net\n"},
	{"peer with another peer", N A B "[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = n\npeer = b.y\n[nic b.y]\nnet = n\npeer = b.x\n", "vm.ini:8: [nic a.x]: peer = b.x: whose own peer is b.y (line 11)\n"},
	{"peer that is coupled already", N A B "[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = n\n[nic b.y]\nnet = n\npeer = b.x\n", "vm.ini:13: [nic b.y]: peer = b.x: is coupled with a.x already (line 8)\n"},
	{"ring of peers", N A "[nic a.x]\nnet = n\npeer = a.y\n[nic a.y]\nnet = n\npeer = a.z\n[nic a.z]\nnet = n\npeer = a.x\n",
	 "vm.ini:6: [nic a.x]: peer = a.y: whose own peer is a.z (line 9)\n"
	 "vm.ini:9: [nic a.y]: peer = a.z: whose own peer is a.x (line 12)\n"
	 "vm.ini:12: [nic a.z]: peer = a.x: whose own peer is a.y (line 6)\n"},
	{"peer where nothing is coupled", A B N "crosstalk = off\n[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = n\n", "vm.ini:9: [nic a.x]: peer = b.x: [net n] has crosstalk = off (line 6): on it no NICs are coupled\n"},
	{"peers where nothing is coupled", A B N "crosstalk = off\n[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = n\npeer = a.x\n", "vm.ini:9: [nic a.x]: peer = b.x: [net n] has crosstalk = off (line 6): on it no NICs are coupled\n" "vm.ini:12: [nic b.x]: peer = a.x: [net n] has crosstalk = off (line 6): on it no NICs are coupled\n"},
	{"promiscuous", A N "[nic a.x]\nnet = n\npromiscuous = maybe\n", "vm.ini:6: [nic a.x]: promiscuous = maybe: must be yes or no\n"},
	{"slots", A N "[nic a.x]\nnet = n\nslots = stabel\n", "vm.ini:6: [nic a.x]: slots = stabel: must be auto, stable or fresh; did you mean 'stable'?\n"},
	{"slots of yes", A N "[nic a.x]\nnet = n\nslots = yes\n", "vm.ini:6: [nic a.x]: slots = yes: must be auto, stable or fresh\n"},
	{"receive-view", A N "[nic a.x]\nnet = n\nreceive-view = readonly\n", "vm.ini:6: [nic a.x]: receive-view = readonly: must be read-write or read-only; did you mean 'read-only'?\n"},
	{"receive-view of write", A N "[nic a.x]\nnet = n\nreceive-view = write-only\n", "vm.ini:6: [nic a.x]: receive-view = write-only: must be read-write or read-only\n"},
	{"peer of a NIC with a bad net", N A B "[nic a.x]\nnet = q9\npeer = b.x\n[nic b.x]\nnet = n\n", "vm.ini:7: [nic a.x]: net = q9: there is no [net q9]\n"},

	/* Files */
	{"no kernel file", "[vm a]\nkernel = nix\n", "vm.ini:2: [vm a]: kernel: there is no file nix\n"},
	{"kernel is a folder", "[vm a]\nkernel = sub\n", "vm.ini:2: [vm a]: kernel: sub is a folder, not a file\n"},
	{"kernel is a device", "[vm a]\nkernel = /dev/null\n", "vm.ini:2: [vm a]: kernel: /dev/null is neither a file nor a link to one\n"},
	{"kernel below a file", "[vm a]\nkernel = k/x\n", "vm.ini:2: [vm a]: kernel: k/x: Not a directory\n"},
	{"no initrd file", A "initrd = nix\n", "vm.ini:3: [vm a]: initrd: there is no file nix\n"},
	{"initrd is a folder", A "initrd = sub\n", "vm.ini:3: [vm a]: initrd: sub is a folder, not a file\n"},
	{"no module file", A "module = m ok\nmodule =\nmodule = nix a b\n", "vm.ini:4: [vm a]: 'module' has no value: give it one, or leave the line out\n" "vm.ini:5: [vm a]: module: there is no file nix\n"},
	{"no disk file", A "[disk a.x]\npath = nix\n", "vm.ini:4: [disk a.x]: path: there is no file nix\n"},
	{"disk is a folder", A "[disk a.x]\npath = sub\n", "vm.ini:4: [disk a.x]: path: sub is a folder, not a file\n"},
	{"disk is a character device", A "[disk a.x]\npath = /dev/zero\n", "vm.ini:4: [disk a.x]: path: /dev/zero is neither a file nor a block device\n"},
	{"disk of two guests", A B "[disk a.x]\npath = d\n[disk b.x]\npath = ./sub/../d\n", "vm.ini:8: [disk b.x]: path: ./sub/../d is used by [disk a.x] already (line 6); a file is shared only where all have 'readonly = yes'\n"},
	{"disk that one reads and one writes", A B "[disk a.x]\npath = d\nreadonly = yes\n[disk b.x]\npath = d\n", "vm.ini:9: [disk b.x]: path: d is used by [disk a.x] already (line 6); a file is shared only where all have 'readonly = yes'\n"},
	{"disk that is a kernel", A "[disk a.x]\npath = k\n", "vm.ini:4: [disk a.x]: path: k is used by [vm a] already (line 2); a file is shared only where all have 'readonly = yes'\n"},
	{"disk id too long", A "[disk a.x]\npath = d\nid = abcdefghijklmnopqrstu\n", "vm.ini:5: [disk a.x]: id = abcdefghijklmnopqrstu: an id has at most 20 bytes, this has 21\n"},
	{"disk id with a blank", A "[disk a.x]\npath = d\nid = a b\n", "vm.ini:5: [disk a.x]: id = a b: an id is made of printable ASCII characters without blanks\n"},
	{"disk id given twice", A "[disk a.x]\npath = d\nid = r\n[disk a.y]\npath = e\nid = r\n", "vm.ini:8: [disk a.y]: id = r: is in its first 20 bytes [disk a.x]'s as well (line 5): give it another\n"},
	{"default disk ids that begin alike", "[vm abcdefghijklmnopqrst]\nkernel = k\n[disk abcdefghijklmnopqrst.x]\npath = d\n[disk abcdefghijklmnopqrst.y]\npath = e\n", "vm.ini:5: [disk abcdefghijklmnopqrst.y]: id = abcdefghijklmnopqrst.y: is in its first 20 bytes [disk abcdefghijklmnopqrst.x]'s as well (line 3): give it another\n"},
	{"readonly", A "[disk a.x]\npath = d\nreadonly = on\n", "vm.ini:5: [disk a.x]: readonly = on: must be yes or no; did you mean 'no'?\n"},
	{"console file of two guests", A "console = file:log\n" B "console = file:sub/../log\n", "vm.ini:6: [vm b]: console: sub/../log is used by [vm a] already (line 3)\n"},
	{"console socket of two guests", A "console = unix:sock\n" B "virtio-console = unix:sock\n", "vm.ini:6: [vm b]: virtio-console: sock is used by [vm a] already (line 3)\n"},
	{"one file for both consoles", A "console = file:log\nvirtio-console = file:log\n", "vm.ini:4: [vm a]: virtio-console: log is used by [vm a] already (line 3)\n"},
	{"console over a disk", A "console = file:d\n[disk a.x]\npath = d\nreadonly = yes\n", "vm.ini:3: [vm a]: console: d is used by [disk a.x] already (line 5)\n"},
	{"console in no folder", A "console = file:nix/log\n", "vm.ini:3: [vm a]: console: there is no folder for nix/log\n"},
	{"console is a folder", A "console = file:sub\n", "vm.ini:3: [vm a]: console: sub is a folder\n"},
	{"console socket is a file", A "console = unix:k\n", "vm.ini:3: [vm a]: console: k is there and is no socket\n"},
	{"console socket with a long path", A "console = unix:" PATH30 PATH30 PATH30 PATH30 "\n", "vm.ini:3: [vm a]: console: a socket's path has at most 107 bytes, this has 120\n"},

	/* All in one go, in the order of the lines */
	{"several", "x = 1\n[vm a]\ncpus = 0\nmemory = 0\n[nic b.x]\nnet = q9\n[nic a.y]\npeer = q\n",
	 "vm.ini:1: 'x' stands before the first section: put it below a header such as [vm NAME]\n"
	 "vm.ini:2: [vm a]: 'kernel' is missing\n"
	 "vm.ini:3: [vm a]: cpus = 0: must be a whole number from 1 to 64\n"
	 "vm.ini:4: [vm a]: memory = 0: must be from 1M to 4T\n"
	 "vm.ini:5: [nic b.x]: there is no [vm b]\n"
	 "vm.ini:6: [nic b.x]: net = q9: there is no [net q9]\n"
	 "vm.ini:7: [nic a.y]: 'net' is missing\n"
	 "vm.ini:8: [nic a.y]: peer = q: there is no [nic q]\n"},
};

static const struct {
	struct mistake mistake;
	uint64_t host_memory_bytes;
} sums[] = {
	{{"memory over the host's", A "memory = 2G\n", "vm.ini:3: [vm a]: memory = 2G: too much: with it the guests have 2G, the host has 1G available\n"}, GIB(1) + 5},
	{{"memory over the host's in sum", A "memory = 300M\n" B "memory = 300M\n[vm c]\nkernel = k\n", "vm.ini:6: [vm b]: memory = 300M: too much: with it the guests have 600M, the host has 512M available\n"}, MIB(512)},
	{{"default memory over the host's", A, "vm.ini:1: [vm a]: memory = 256M: too much: with it the guests have 256M, the host has 255M available\n"}, MIB(255)},
};
/* clang-format on */

static void expect(const char *name, const char *ini, size_t size, uint64_t host_memory_bytes,
		   const char *expected)
{
	static const struct lab_config empty;
	struct lab_config lab;
	char *printed;

	int result = config_fixture_load(ini, size, host_memory_bytes, &lab, &printed);
	ck_assert_msg(!strcmp(printed, expected), "%s: printed\n%snot\n%s", name, printed,
		      expected);
	ck_assert_msg(result == -EINVAL, "%s: %d", name, result);
	ck_assert_mem_eq(&lab, &empty, sizeof(lab));
	config_free(&lab);
	free(printed);
}

START_TEST(mistake)
{
	const struct mistake *m = &mistakes[_i];
	expect(m->name, m->ini, strlen(m->ini), 0, m->printed);
}
END_TEST

START_TEST(memory_over_the_hosts)
{
	const struct mistake *m = &sums[_i].mistake;
	expect(m->name, m->ini, strlen(m->ini), sums[_i].host_memory_bytes, m->printed);
}
END_TEST

START_TEST(no_such_file)
{
	char *printed;
	size_t size;
	struct lab_config lab;
	FILE *err = open_memstream(&printed, &size);

	ck_assert_int_eq(config_load("nix.ini", 0, err, &lab), -EINVAL);
	ck_assert_int_eq(config_load("sub", 0, err, &lab), -EINVAL);
	fclose(err);
	ck_assert_str_eq(printed, "nix.ini: cannot be read: No such file or directory\n"
				  "sub: cannot be read: Is a directory\n");
	config_free(&lab);
	free(printed);
}
END_TEST

START_TEST(zero_byte)
{
	static const char text[] = A "cpus = 0\n\0cpus = 0\n[vm]\n";
	expect("zero byte", text, sizeof(text) - 1, 0,
	       "vm.ini:4: a zero byte: this is no text file; reading ends here\n");
}
END_TEST

/* "KEY = xxx…" of the given length, between two good lines. */
static char *with_line_of(const char *section, const char *key, size_t len)
{
	char *text = calloc(1, len + 200);
	size_t at = (size_t)sprintf(text, "%s", section);

	memset(text + at, 'x', len);
	memcpy(text + at, key, strlen(key));
	strcpy(text + at + len, "\ncpus = 1\n");
	return text;
}

START_TEST(line_too_long)
{
	static const char expected[] = "vm.ini:3: [vm a]: the line is longer than 8192 bytes\n";
	static const size_t lengths[] = { 8193, 8194, 8195, 8196, 20000, 100000 };

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		char *text = with_line_of(A, "cmdline = ", lengths[i]);
		expect("cmdline", text, strlen(text), 0, expected);
		free(text);
		text = with_line_of(A, "; ", lengths[i]);
		expect("comment", text, strlen(text), 0, expected);
		free(text);
	}
}
END_TEST

START_TEST(header_too_long)
{
	char *text = with_line_of(A, "[vm ", 9000);
	expect("header", text, strlen(text), 0, "vm.ini:3: the line is longer than 8192 bytes\n");
	free(text);
}
END_TEST

START_TEST(file_too_long)
{
	static const char line[] =
		"; and so on, and so on, and so on, and so on, and so on, and on\n";
	size_t nr = MIB(4) / (sizeof(line) - 1) + 1, at = 0;
	char *text = malloc(nr * (sizeof(line) - 1) + 1), expected[128];

	for (size_t i = 0; i < nr; i++)
		at += (size_t)sprintf(text + at, "%s", line);
	snprintf(expected, sizeof(expected),
		 "vm.ini:%zu: the file is longer than 4 MiB: this is no vm.ini\n", nr);
	expect("file", text, at, 0, expected);
	free(text);
}
END_TEST

START_TEST(unreadable_files)
{
	if (!geteuid())
		ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(chmod("k", 0), 0);
	ck_assert_int_eq(chmod("i", 0), 0);
	ck_assert_int_eq(chmod("m", 0), 0);
	ck_assert_int_eq(chmod("d", 0), 0);
	ck_assert_int_eq(chmod("e", 0444), 0);
	uid_t user = geteuid();
	/* To root nothing is forbidden. */
	if (!user)
		ck_assert_int_eq(seteuid(65534), 0);
	static const char text[] = A "initrd = i\nmodule = m\n[disk a.x]\npath = d\n"
				     "[disk a.y]\npath = e\n[disk a.z]\npath = e\nreadonly = yes\n";
	expect("unreadable", text, strlen(text), 0,
	       "vm.ini:2: [vm a]: kernel: k may not be read: Permission denied\n"
	       "vm.ini:3: [vm a]: initrd: i may not be read: Permission denied\n"
	       "vm.ini:4: [vm a]: module: m may not be read: Permission denied\n"
	       "vm.ini:6: [disk a.x]: path: d may not be read: Permission denied\n"
	       "vm.ini:8: [disk a.y]: path: e may not be written: Permission denied; "
	       "'readonly = yes' would do\n");
	ck_assert_int_eq(seteuid(user), 0);
}
END_TEST

START_TEST(short_disk)
{
	static const char text[] = A "[disk a.x]\npath = d\n";

	ck_assert_int_eq(truncate("d", 511), 0);
	expect("short disk", text, strlen(text), 0,
	       "vm.ini:4: [disk a.x]: path: d is shorter than one sector (512 bytes): "
	       "'truncate -s SIZE' makes it longer\n");
}
END_TEST

START_TEST(disk_links)
{
	static const char text[] = A B "[disk a.x]\npath = d\n[disk b.x]\npath = hard\n"
				       "[disk b.y]\npath = soft\n";

	ck_assert_int_eq(link("d", "hard"), 0);
	ck_assert_int_eq(symlink("d", "soft"), 0);
	expect("links", text, strlen(text), 0,
	       "vm.ini:8: [disk b.x]: path: hard is used by [disk a.x] already (line 6); a file is "
	       "shared only where all have 'readonly = yes'\n"
	       "vm.ini:10: [disk b.y]: path: soft is used by [disk a.x] already (line 6); a file "
	       "is shared only where all have 'readonly = yes'\n");
}
END_TEST

START_TEST(console_on_a_socket)
{
	static const char text[] = A "console = file:sock\n";
	struct sockaddr_un addr = { AF_UNIX, "sock" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	expect("socket", text, strlen(text), 0,
	       "vm.ini:3: [vm a]: console: sock is a socket: write unix:PATH for one\n");
	close(fd);
}
END_TEST

/* nics NICs and disks (readonly, of one file), and what else makes a device. */
static char *with_devices(unsigned nics, unsigned disks, const char *more)
{
	char *text = malloc(8192);
	size_t at = (size_t)sprintf(text, N A "%s", more);

	for (unsigned i = 0; i < nics; i++)
		at += (size_t)sprintf(text + at, "[nic a.n%u]\nnet = n\n", i);
	for (unsigned i = 0; i < disks; i++)
		at += (size_t)sprintf(text + at, "[disk a.d%u]\npath = d\nreadonly = yes\n", i);
	return text;
}

START_TEST(too_many_devices)
{
	static const struct {
		unsigned nics, disks;
		const char *more, *expected;
	} cases[] = {
		{ 17, 0, "",
		  "vm.ini:2: [vm a]: has 17 devices (17 NICs, 0 disks), at most 16 are "
		  "possible\n" },
		{ 0, 17, "",
		  "vm.ini:2: [vm a]: has 17 devices (0 NICs, 17 disks), at most 16 are "
		  "possible\n" },
		{ 1, 14, "rng = yes\nvirtio-console = pty\n",
		  "vm.ini:2: [vm a]: has 17 devices (1 NIC, 14 disks, rng, "
		  "virtio-console), at most 16 are possible\n" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = with_devices(cases[i].nics, cases[i].disks, cases[i].more);
		expect("devices", text, strlen(text), 0, cases[i].expected);
		free(text);
	}
	struct lab_config lab;
	char *text = with_devices(2, 12, "rng = yes\nvirtio-console = pty\n");
	config_fixture_load_good(text, &lab);
	config_free(&lab);
	free(text);
}
END_TEST

START_TEST(folder_in_front)
{
	char *printed;
	size_t size;
	struct lab_config lab;
	FILE *err = open_memstream(&printed, &size);
	static const char text[] = "[vm a]\nkernel = i\n";

	config_fixture_write("sub/x.ini", text, strlen(text));
	ck_assert_int_eq(config_load("./sub/x.ini", 0, err, &lab), -EINVAL);
	fclose(err);
	ck_assert_str_eq(printed, "./sub/x.ini:2: [vm a]: kernel: there is no file ./sub/i\n");
	free(printed);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config mistakes");
	TCase *tc = tcase_create("mistakes");

	tcase_add_checked_fixture(tc, config_fixture_setup, config_fixture_teardown);
	tcase_add_loop_test(tc, mistake, 0, (int)ARRAY_SIZE(mistakes));
	tcase_add_loop_test(tc, memory_over_the_hosts, 0, (int)ARRAY_SIZE(sums));
	tcase_add_test(tc, no_such_file);
	tcase_add_test(tc, zero_byte);
	tcase_add_test(tc, line_too_long);
	tcase_add_test(tc, header_too_long);
	tcase_add_test(tc, file_too_long);
	tcase_add_test(tc, unreadable_files);
	tcase_add_test(tc, short_disk);
	tcase_add_test(tc, disk_links);
	tcase_add_test(tc, console_on_a_socket);
	tcase_add_test(tc, too_many_devices);
	tcase_add_test(tc, folder_in_front);
	suite_add_tcase(s, tc);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
