/*
 * What a vm.ini says, checked: the data model that the rest of xvmm works from.
 *
 * config_load() reads and checks everything before anything is started. It is used by one thread;
 * the result is read-only afterwards and may then be read by any.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdio.h>

#include "base/types.h"

#define CONFIG_NAME_MAX	   31 /* of a net, a guest, a NIC or disk behind its dot */
#define CONFIG_MAX_CPUS	   64
#define CONFIG_MAX_MODULES 8
#define CONFIG_LINE_MAX	   8192

enum uplink_kind { UPLINK_NONE, UPLINK_TAP, UPLINK_BRIDGE };
enum crosstalk_mode { CROSSTALK_OFF, CROSSTALK_DYNAMIC, CROSSTALK_STATIC };
enum sharing_mode { SHARING_COPY, SHARING_AUTO }; /* key "memory" of a net */

enum console_kind { CONSOLE_NONE, CONSOLE_STDIO, CONSOLE_FILE, CONSOLE_PTY, CONSOLE_UNIX };
struct console_config {
	enum console_kind kind;
	char *path; /* file, unix */
};

enum end_action { END_STOP, END_RESTART };
enum transport_kind { TRANSPORT_PCI, TRANSPORT_MMIO };
enum nic_model { NIC_VIRTIO, NIC_E1000 };
enum slots_mode {
	SLOTS_AUTO,
	SLOTS_STABLE,
	SLOTS_FRESH
}; /* who declares docs/mapped.md's contract */
enum hugepages_mode { HUGEPAGES_NO, HUGEPAGES_2M, HUGEPAGES_1G };

struct net_config {
	char *name;
	unsigned line; /* of the section header, for messages */
	enum uplink_kind uplink;
	char *uplink_name; /* the TAP or the bridge */
	enum crosstalk_mode crosstalk;
	enum sharing_mode sharing;
	unsigned crosstalk_threshold; /* frames; default 8 */
	unsigned crosstalk_share;     /* percent of the window; default 75 */
	unsigned crosstalk_window;    /* frames; default 32 */
	unsigned receiver_hold_us;    /* how long a receiver may hold a sender back; default 1000 */
	unsigned slot_deadline_us; /* how long a receiver may sit on a mapped slot; default 50000 */
};

struct module_config {
	char *path;
	char *args; /* may be "" */
};

struct guest_config {
	char *name;
	unsigned line;
	char *kernel;  /* paths are absolute, or relative to the working directory */
	char *initrd;  /* NULL if none */
	char *cmdline; /* "" if none */
	struct module_config module[CONFIG_MAX_MODULES]; /* Multiboot modules */
	unsigned nr_modules;
	uint64_t memory_bytes;
	unsigned cpus;
	struct console_config console;	      /* the serial port */
	struct console_config virtio_console; /* hvc0; CONSOLE_NONE: no such device */
	char *domain;			      /* "" if none: shares with nobody */
	enum transport_kind transport;
	enum hugepages_mode hugepages;
	bool prealloc;
	bool rng;
	enum end_action on_reboot, on_crash;
};

struct nic_config {
	unsigned guest;	 /* index */
	unsigned net;	 /* index */
	char *name;	 /* "eth0" */
	char *full_name; /* "alpha.eth0" */
	unsigned line;
	uint8_t mac[6];
	bool mac_given;
	enum nic_model model;
	bool promiscuous; /* may send from any address */
	enum slots_mode slots;
	bool receive_readonly; /* receive-view = read-only */
	int peer;	       /* index of the NIC coupled with it, -1 if none */
};

struct disk_config {
	unsigned guest;
	char *name, *full_name;
	unsigned line;
	char *path;
	char *id; /* for GET_ID; default: full_name */
	bool readonly;
};

struct lab_config {
	char *path; /* of the vm.ini */
	char *name; /* of the lab: [lab] name =, default: file name without extension */
	struct net_config *net;
	unsigned nr_nets;
	struct guest_config *guest;
	unsigned nr_guests;
	struct nic_config *nic;
	unsigned nr_nics;
	struct disk_config *disk;
	unsigned nr_disks;
	unsigned shutdown_timeout_s; /* [lab] shutdown-timeout =: between ACPI button and kill */
};

/*
 * Reads and checks the file at `path`. Every mistake is one line on `err`,
 * "PATH:LINE: [SECTION]: what is wrong, and what would be right"; all of them in one go.
 * host_memory_bytes: what all guests together may use (0: do not check).
 * 0: *out is complete. -EINVAL: mistakes were reported. -ENOMEM. On error *out is empty.
 */
int config_load(const char *path, uint64_t host_memory_bytes, FILE *err, struct lab_config *out);
void config_free(struct lab_config *c);

/* MemAvailable of /proc/meminfo plus free hugepages; 0 if unknown. */
uint64_t config_host_memory_bytes(void);

/* "256M", "4G", "1048576": digits and an optional K, M, G, T (powers of 1024). -EINVAL, -ERANGE. */
int config_parse_size(const char *text, uint64_t *bytes);
/* "52:54:00:00:00:01"; unicast, not all zero. -EINVAL. */
int config_parse_mac(const char *text, uint8_t mac[6]);
/* A locally administered unicast address that depends on the two names only (52:54:00 and 24 bits).
 */
void config_derive_mac(const char *lab, const char *nic_full_name, uint8_t mac[6]);

#endif
