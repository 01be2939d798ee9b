# Frames between guests: every one is echoed, checked, and none lost, doubled or out of order.

NO_FAULT='lost 0 doubled 0 reordered 0 corrupt 0'

# pair I NET SEND_CMDLINE [LINE…]: guests sI and eI, a sender and its echo.
pair() {
	local i=$1 net=$2 cmdline=$3
	shift 3
	vm "s$i" net_send "peer=$(mac $((2 * i + 1))) $cmdline" "$@"
	# More buffers than the largest window: whatever is lost is lost by mistake.
	vm "e$i" net_echo "buffers=128" "$@"
	nic "s$i.eth0" "$net" "$(mac $((2 * i)))"
	nic "e$i.eth0" "$net" "$(mac $((2 * i + 1)))"
}

want_pair() { # I
	want_success "s$1" "e$1"
	want "s$1.log" "$NO_FAULT"
}

echo_over() { # TRANSPORT CMDLINE
	net lan
	pair 1 lan "$2" "transport = $1"
	xvmm_run
	want_rc 33
	want_pair 1
}

case_net_none_pci() { echo_over pci "frames=500 size=0"; }
case_net_none_mmio() { echo_over mmio "frames=500 size=0"; }
case_net_none_intx() { echo_over pci "frames=200 intx=1"; }
case_net_none_plain_ring() { echo_over pci "frames=200 indirect=0 event_idx=0"; }
case_net_none_window_1() { echo_over pci "frames=100 window=1 size=60"; }
case_net_none_window_128() { echo_over pci "frames=1000 window=64 size=60"; }

# What a guest sent before it ended arrives: the echo ends only when it has heard the goodbye.
last_words() { # TRANSPORT
	local round
	for round in 1 2 3 4 5; do
		rm -f vm.ini
		echo_over "$1" "frames=20 quit=last"
	done
}
case_net_none_last_words_pci() { last_words pci; }
case_net_none_last_words_mmio() { last_words mmio; }

case_net_none_mixed_transports() {
	net lan
	vm s1 net_send "peer=$(mac 3) frames=300" "transport = mmio"
	vm e1 net_echo "" "transport = pci"
	nic s1.eth0 lan "$(mac 2)"
	nic e1.eth0 lan "$(mac 3)"
	xvmm_run
	want_pair 1
}

# Three senders, one echo: one receive queue that several fill.
case_net_none_many_to_one() {
	local i
	net lan
	vm e net_echo "quits=3 buffers=128"
	nic e.eth0 lan "$(mac 9)"
	for i in 1 2 3; do
		vm "s$i" net_send "peer=$(mac 9) frames=300 size=0 window=8"
		nic "s$i.eth0" lan "$(mac "$i")"
	done
	xvmm_run
	want_success e s1 s2 s3
	for i in 1 2 3; do
		want "s$i.log" "$NO_FAULT"
	done
}

# Nothing crosses from one net to another, even to the same address.
case_net_isolated() {
	net one
	net two
	pair 1 one "frames=100"
	vm other net_echo "quits=1"
	nic other.eth0 two "$(mac 77)"
	ini "[lab]" "shutdown-timeout = 1"
	vm lost net_send "peer=$(mac 77) frames=10"
	nic lost.eth0 one "$(mac 78)"
	xvmm_start
	wait_for s1.log '^SUCCESS'
	wait_for e1.log '^SUCCESS'
	sleep 2
	want_not lost.log '^send'
	want_not other.log '^SUCCESS'
	kill -TERM "$pid"
	xvmm_wait
}

case_net_tap_shared() {
	need_netns
	net lan tap:xvt0
	pair 1 lan "frames=300 size=0"
	xvmm_run_netns "" "! ip link show xvt0 2>/dev/null"
	want_rc 33
	want_pair 1
}

# A TAP that was there before is there afterwards.
case_net_tap_kept() {
	need_netns
	net lan tap:xvt0
	pair 1 lan "frames=50"
	xvmm_run_netns "ip tuntap add dev xvt0 mode tap vnet_hdr" "ip link show xvt0"
	want_pair 1
}

case_net_bridge() {
	need_netns
	net lan bridge:xvb0
	pair 1 lan "frames=300 size=0"
	xvmm_run_netns "ip link add xvb0 type bridge && ip link set xvb0 up" \
		"ip link show xvb0; test \$(ip -o link | grep -vc -e 'lo:' -e xvb0) -eq 0"
	want_rc 33
	want_pair 1
}

case_net_bridge_made() {
	need_netns
	net lan bridge:xvb0
	pair 1 lan "frames=50"
	xvmm_run_netns "" "! ip link show xvb0 2>/dev/null; test \$(ip -o link | wc -l) -eq 1"
	want_pair 1
}

# kill -9 leaves nothing that the next run does not clear away.
case_net_kill_9() {
	need_netns
	net lan bridge:xvb0
	vm e1 net_echo ""
	nic e1.eth0 lan "$(mac 1)"
	cat >second.ini <<-END
		[vm b]
		kernel = $(kernel hello)
		memory = 16M
		console = file:b.log
	END
	unshare -n bash -euc "ip link set lo up
		export XDG_RUNTIME_DIR=\$PWD
		'$XVMM' run vm.ini >out 2>err & pid=\$!
		for i in \$(seq 600); do grep -qs '^echo: mac' e1.log && break; sleep 0.1; done
		grep -q '^echo: mac' e1.log
		kill -9 \$pid; wait \$pid || true
		ip -o link >left.log
		printf '[net lan]\nuplink = bridge:xvb1\n[nic b.eth0]\nnet = lan\n' >>second.ini
		$TIMED $TIMEOUT '$XVMM' run second.ini >out2.log 2>err2.log || true
		ip -o link >after.log
		test \$(ip -o link | wc -l) -eq 1" || die "something is left: $(grep -v ' lo:' after.log | cut -c1-40)"
	want b.log '^SUCCESS'
}

case_net_no_rights() {
	need_root
	command -v setpriv >/dev/null || skip "no setpriv"
	net lan bridge:xvb0
	pair 1 lan ""
	# /dev/kvm stays usable, the network does not.
	unshare -n setpriv --bounding-set -net_admin --inh-caps -net_admin \
		"$TIMED" "$TIMEOUT" "$XVMM" run vm.ini >out 2>err
	rc=$?
	want_rc 3
	want err 'sudo ip '
	want_not s1.log .
}

# 64 guests in one process, in 32 pairs on one net.
case_net_64_guests() {
	local i
	need_memory 1024
	net lan
	for ((i = 0; i < 32; i++)); do
		pair "$i" lan "frames=20 size=0 timeout=60" "memory = 8M"
	done
	xvmm_run
	want_rc 33
	for ((i = 0; i < 32; i++)); do
		want_pair "$i"
	done
}
