# Guests whose drivers have stable slots (docs/mapped.md), on whatever carries their frames. The same
# guests are what cases_mapped.sh maps.

SLOTS_FAULTLESS='^RESULT lost=0 doubled=0 reordered=0 corrupt=0'

# slot_vm NAME NUMBER MODEL GUEST CMDLINE [LINE…]: a guest with one NIC on net lan, whose address is
# mac NUMBER; MODEL: virtio, mmio (virtio-net on that transport) or e1000.
slot_vm() {
	local name=$1 number=$2 model=$3 guest=$4 cmdline=$5
	shift 5
	[ "$model" != mmio ] || set -- "transport = mmio" "$@"
	vm "$name" "$guest" "$cmdline" "$@"
	nic "$name.eth0" lan "$(mac "$number")"
	ini "model = ${model/mmio/virtio}"
}

# slot_pair MODEL_A MODEL_B CMDLINE_A CMDLINE_B [LINE…]: guests a and b, on a net that is there.
slot_pair() {
	local a=$1 b=$2 cmd_a=$3 cmd_b=$4
	shift 4
	slot_vm a 2 "$a" slot_pair "peer=$(mac 3) $cmd_a" "$@"
	slot_vm b 3 "$b" slot_pair "peer=$(mac 2) $cmd_b" "$@"
}

want_faultless() { # VM…
	local v
	want_success "$@"
	for v in "$@"; do
		want "$v.log" "$SLOTS_FAULTLESS"
	done
}

slot_pair_alone() { # as slot_pair
	net lan
	slot_pair "$@"
	xvmm_run
	want_rc 33
	want_faultless a b
}

case_slots_virtio() { slot_pair_alone virtio virtio "frames=3000" "frames=2000"; }
case_slots_e1000() { slot_pair_alone e1000 e1000 "frames=3000" "frames=2000"; }
case_slots_mixed() { slot_pair_alone e1000 virtio "frames=2000 size=0" "frames=2000 size=0"; }
case_slots_mmio() { slot_pair_alone mmio virtio "frames=2000" "frames=2000"; }
case_slots_polled() { slot_pair_alone virtio e1000 "frames=2000 mode=polled" "frames=2000 mode=polled"; }
case_slots_ring0() { slot_pair_alone virtio virtio "frames=50 ring3=0 spin=10" "frames=50 ring3=0 spin=10"; }
case_slots_4k() { slot_pair_alone virtio virtio "frames=1000 slot=4096 size=4000" "frames=1000 slot=4096 size=0"; }
case_slots_64k() {
	slot_pair_alone virtio virtio "frames=500 slot=65536 size=65536" "frames=500 slot=65536 size=65000" \
		"memory = 80M"
}
case_slots_e1000_16k() {
	slot_pair_alone e1000 virtio "frames=500 slot=16384 size=16000" "frames=500 slot=16384 size=9000" \
		"memory = 32M"
}
case_slots_plain_ring() {
	slot_pair_alone virtio virtio "frames=2000 indirect=0 event_idx=0" "frames=2000 indirect=0"
}
case_slots_few() { slot_pair_alone virtio e1000 "frames=500 slots=8" "frames=500 slots=8 offset=64"; }

# One that sits on what it received holds nobody up for good.
case_slots_hold() { slot_pair_alone virtio virtio "frames=2000" "frames=2000 hold=300"; }

case_slots_three() {
	net lan
	slot_vm a 2 virtio slot_pair "peer=$(mac 3) other=$(mac 4) every=4 frames=4000 flood=100"
	slot_vm b 3 e1000 slot_pair "peer=$(mac 2) frames=1000"
	slot_vm c 4 virtio slot_pair "peer=$(mac 2)"
	xvmm_run
	want_rc 33
	want_faultless a b c
	want c.log ' frames=1000 '
}

case_slots_bridge() {
	need_netns
	net lan bridge:xvb0
	slot_pair virtio e1000 "frames=2000" "frames=2000"
	xvmm_run_netns "" "! ip link show xvb0 2>/dev/null"
	want_rc 33
	want_faultless a b
}

# Copied, nothing of a page comes through but the frame.
case_slots_secret() {
	slot_pair_alone virtio e1000 "frames=20000 secret=1" "frames=20000 secret=1"
	want a.log ' leak=0$' '^traffic: scans=[1-9]'
	want b.log ' leak=0$' '^traffic: scans=[1-9]'
}

case_slots_alias_no() {
	net lan
	slot_vm a 2 virtio slot_alias "role=writer peer=$(mac 3) slots=32"
	slot_vm b 3 e1000 slot_alias "role=watcher peer=$(mac 2) slots=32 want=no"
	xvmm_run
	want_rc 33
	want_success a b
}

# slot_hostile_lab BREACH MODEL [LINE…]: bad, whose peer bears it, and a pair that must not notice.
slot_hostile_lab() {
	local breach=$1 model=$2 extra=
	shift 2
	[ "$breach" != shared ] || extra="offset=1024 slots=32"
	slot_vm bad 2 "$model" slot_hostile "breach=$breach peer=$(mac 3) frames=3000 window=0 timeout=2 $extra" "$@"
	slot_vm victim 3 virtio slot_pair "peer=$(mac 2) frames=3000 tolerate=1 timeout=3 $extra" "$@"
	slot_vm c 4 virtio slot_pair "peer=$(mac 5) frames=3000" "$@"
	slot_vm d 5 e1000 slot_pair "peer=$(mac 4) frames=3000" "$@"
}

slot_hostile() { # BREACH…
	local breach model
	for breach; do
		for model in virtio e1000; do
			rm -f vm.ini ./*.log
			net lan
			slot_hostile_lab "$breach" "$model"
			echo "--- $breach $model"
			xvmm_run
			want_success victim c d
			want_faultless c d
			want_rc 33
		done
	done
}

case_slots_hostile_places() { slot_hostile move order header shared; }
