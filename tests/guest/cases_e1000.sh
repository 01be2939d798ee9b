# Frames between guests with an e1000, and between those and guests with virtio-net.

# e1000_pair NET SENDER_MODEL ECHO_MODEL SEND_CMDLINE [LINE…]: as pair of cases_net.sh, number 1.
e1000_pair() {
	local net=$1 sender=$2 echo=$3 cmdline=$4
	shift 4
	vm s1 net_send "peer=$(mac 3) $cmdline" "$@"
	# More buffers than the largest window: whatever is lost is lost by mistake.
	vm e1 net_echo "buffers=128" "$@"
	nic s1.eth0 "$net" "$(mac 2)"
	ini "model = $sender"
	nic e1.eth0 "$net" "$(mac 3)"
	ini "model = $echo"
}

e1000_alone() { # SENDER_MODEL ECHO_MODEL CMDLINE [LINE…]
	net lan
	e1000_pair lan "$@"
	xvmm_run
	want_rc 33
	want_pair 1
}

case_e1000_both() {
	e1000_alone e1000 e1000 "frames=500 size=0"
	want e1.log '^echo: mac .* over e1000'
}
case_e1000_to_virtio() { e1000_alone e1000 virtio "frames=300 size=0"; }
case_e1000_from_virtio() { e1000_alone virtio e1000 "frames=300 size=0"; }
case_e1000_from_mmio() { e1000_alone virtio e1000 "frames=200" "transport = mmio"; }
case_e1000_window_1() { e1000_alone e1000 e1000 "frames=100 window=1 size=60"; }
case_e1000_window_128() { e1000_alone e1000 e1000 "frames=1000 window=64 size=60"; }

case_e1000_bridge() {
	need_netns
	net lan bridge:xvb0
	e1000_pair lan e1000 virtio "frames=300 size=0"
	xvmm_run_netns "" "! ip link show xvb0 2>/dev/null"
	want_rc 33
	want_pair 1
}

case_e1000_tap_shared() {
	need_netns
	net lan tap:xvt0
	e1000_pair lan virtio e1000 "frames=300 size=0"
	xvmm_run_netns "" "! ip link show xvt0 2>/dev/null"
	want_rc 33
	want_pair 1
}

# An e1000 takes no virtio-mmio slot from the devices behind it.
case_e1000_among_mmio() {
	net lan
	e1000_pair lan e1000 e1000 "frames=50" "transport = mmio" "rng = yes"
	truncate -s 1M disk.img
	ini "[disk s1.d]" "path = disk.img"
	xvmm_run
	want_rc 33
	want_pair 1
}

# On the same net as a pair that must not notice, and on one of its own.
case_e1000_hostile() {
	local seed
	for seed in 1 2; do
		rm -f vm.ini
		vm bad hostile_e1000 "seed=$seed rounds=2 verbose=1"
		vm ping net_send "peer=$(mac 3) frames=200 size=0"
		vm pong net_echo ""
		net lan
		net other
		nic bad.eth0 "$([ $seed = 1 ] && echo lan || echo other)" "$(mac 1)"
		ini "model = e1000"
		nic ping.eth0 lan "$(mac 2)"
		nic pong.eth0 lan "$(mac 3)"
		ini "model = e1000"
		xvmm_run
		want_success ping pong bad
		want ping.log "$NO_FAULT"
		want err 'bad.eth0: .*(transmit|receive) stopped: '
		want_rc 33
	done
}
