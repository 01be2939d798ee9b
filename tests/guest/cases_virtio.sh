# The virtio devices, each over both transports, with and without what a driver may leave out.

variants() { # GUEST CMDLINE [LINE…]: the same guest in every variant
	local guest=$1 cmdline=$2 v
	shift 2
	for v in "pci:" "mmio:" "pci:intx=1" "pci:pci=conf1" "pci:indirect=0 event_idx=0" \
		"mmio:indirect=0" "pci:event_idx=0"; do
		[ "$v" != pci:pci=conf1 ] || [ "$(uname -m)" = x86_64 ] || continue
		rm -f vm.ini
		vm a "$guest" "$cmdline ${v#*:}" "transport = ${v%%:*}" "$@"
		[ ! -e extra.ini ] || cat extra.ini >>vm.ini
		xvmm_run
		want_not a.log '^FAIL'
		want_rc 33 "$v"
		want a.log '^SUCCESS$'
	done
}

disk() { # FILE SECTORS
	printf 'xvmm-disk' >"$1"
	truncate -s $(($2 * 512)) "$1"
}

case_rng() { variants rng "" "rng = yes"; }

case_blk() {
	disk d.img 2048
	printf '%s\n' "[disk a.root]" "path = d.img" "id = serial-1" >extra.ini
	variants blk "sectors=2048 id=serial-1"
	# The last sector, as the guest wrote it, has reached the file.
	[ "$(tail -c 8 d.img | od -An -tu8 | tr -d ' ')" = 2047 ] || die "the write is not in the file"
}

case_blk_default_id() {
	disk d.img 64
	vm a blk "sectors=64 id=a.root"
	ini "[disk a.root]" "path = d.img"
	xvmm_run
	want_success a
}

case_blk_readonly() {
	disk d.img 64
	cp d.img before.img
	printf '%s\n' "[disk a.root]" "path = d.img" "readonly = yes" >extra.ini
	variants blk "readonly=1 sectors=64"
	cmp -s d.img before.img || die "a read-only disk has changed"
}

# A host disk without room: the guest gets an error, and goes on.
case_blk_full() {
	need_root
	vm a blk "full=1 sectors=64"
	ini "[disk a.root]" "path = mnt/d.img"
	mkdir mnt
	# The image's first page is there, the others are holes, and then the file system is full.
	unshare -m bash -euc "mount -t tmpfs -o size=64k none mnt
		printf xvmm-disk >mnt/d.img
		truncate -s 32K mnt/d.img
		dd if=/dev/zero of=mnt/fill bs=4096 2>/dev/null || true
		status=0
		$TIMED $TIMEOUT '$XVMM' run vm.ini >out 2>err || status=\$?
		echo \$status >status" || skip "no mount namespace"
	rc=$(cat status)
	want_success a
	want_rc 33
}

case_blk_locked() { # no two guests write to one disk
	disk d.img 64
	vm a blk "" && ini "[disk a.root]" "path = d.img"
	vm b blk "" && ini "[disk b.root]" "path = d.img"
	xvmm_run
	[ "$rc" -eq 1 ] || [ "$rc" -eq 2 ] || die "status $rc"
	want_not a.log '^blk'
	want_not b.log '^blk'
}

case_blk_shared_readonly() {
	disk d.img 64
	vm a blk "readonly=1" && ini "[disk a.root]" "path = d.img" "readonly = yes"
	vm b blk "readonly=1" && ini "[disk b.root]" "path = d.img" "readonly = yes"
	xvmm_run
	want_success a b
}

case_virtio_console() {
	variants virtio_console "lines=20" "virtio-console = file:hvc"
	[ "$(grep -c '^hello from hvc0' hvc)" -eq 20 ] || die "$(grep -c . hvc) of 20 lines"
}

case_all_devices() { # one guest with everything, so that many interrupts share lines
	disk d.img 64
	vm a blk "intx=1" "rng = yes" "virtio-console = file:hvc" "cpus = 2"
	ini "[disk a.one]" "path = d.img"
	net lan
	nic a.eth0 lan "$(mac 1)"
	nic a.eth1 lan "$(mac 2)"
	xvmm_run
	want_success a
}

hostile() { # TARGET TRANSPORT [LINE…]: beside a pair that must not notice
	local target=$1 transport=$2 seed
	shift 2
	for seed in 1 2; do
		rm -f vm.ini
		vm bad hostile_virtio "target=$target seed=$seed verbose=1" "transport = $transport" \
			"rng = yes" "virtio-console = file:hvc"
		disk d.img 64
		ini "[disk bad.root]" "path = d.img"
		vm ping net_send "peer=$(mac 3) frames=200 size=0"
		vm pong net_echo ""
		net lan
		net other
		nic bad.eth0 other "$(mac 1)"
		nic ping.eth0 lan "$(mac 2)"
		nic pong.eth0 lan "$(mac 3)"
		xvmm_run
		want_success ping pong bad
		want_rc 33
	done
}

case_hostile_rng_pci() { hostile rng pci; }
case_hostile_rng_mmio() { hostile rng mmio; }
case_hostile_net_pci() { hostile net pci; }
case_hostile_net_mmio() { hostile net mmio; }
case_hostile_blk_pci() { hostile blk pci; }
case_hostile_blk_mmio() { hostile blk mmio; }
case_hostile_console_pci() { hostile console pci; }
case_hostile_console_mmio() { hostile console mmio; }

# The hostile guest on the same net as the healthy pair.
case_hostile_same_net() {
	vm bad hostile_virtio "target=net attack=rings rounds=2"
	vm ping net_send "peer=$(mac 3) frames=200 size=0"
	vm pong net_echo ""
	net lan
	nic bad.eth0 lan "$(mac 1)"
	nic ping.eth0 lan "$(mac 2)"
	nic pong.eth0 lan "$(mac 3)"
	xvmm_run
	want_success ping pong bad
}
