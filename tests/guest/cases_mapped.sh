# Mapped lanes (docs/mapped.md): one DMA buffer under both rings. The guests are those of
# cases_slots.sh.

# Each way: many turns of a ring. Where the processor is emulated there are fewer, and of shorter
# rings: a lane is mapped only if a turn takes less than a tenth of a second.
MAPPED_FRAMES=${XVMM_MAPPED_FRAMES:-60000}
MAPPED_SLOTS=${XVMM_MAPPED_SLOTS:-} # where a case does not say how many; else all that there are


# A lab that lives until the power button, and its net lan, with LINEs.
mapped_lab() { # [UPLINK [LINE…]]
	control_lab
	net lan "${1:-none}"
	shift || :
	# A busy machine is no guest that sits on its slots.
	printf '%s\n' "$@" | grep -q '^slot-deadline' || ini "slot-deadline = 1000ms"
	ini "receiver-hold = 1000ms" # nor one without buffers
	[ $# -eq 0 ] || ini "$@"
}

# As slot_vm, with a declared contract. A line "slots = …" among LINEs belongs to the NIC.
mapped_vm() { # NAME NUMBER MODEL GUEST CMDLINE [LINE…]
	local line lines=() nic_lines=() cmdline=$5
	for line in "${@:6}"; do
		case $line in
		slots* | receive-view* | peer*) nic_lines+=("$line") ;;
		*) lines+=("$line") ;;
		esac
	done
	printf '%s\n' "${lines[@]}" | grep -q '^domain' || lines+=("domain = lab")
	printf '%s\n' "${nic_lines[@]}" | grep -q '^slots' || nic_lines+=("slots = stable")
	[[ -z $MAPPED_SLOTS || $cmdline == *slots=* ]] || cmdline+=" slots=$MAPPED_SLOTS"
	slot_vm "$1" "$2" "$3" "$4" "$cmdline" "${lines[@]}"
	ini "${nic_lines[@]}"
}

mapped_pair() { # as slot_pair
	mapped_vm a 2 "$1" slot_pair "peer=$(mac 3) $3" "${@:5}"
	mapped_vm b 3 "$2" slot_pair "peer=$(mac 2) $4" "${@:5}"
}

# What `xvmm stat --json` says of a NIC.
nic_stat() { # NIC
	"$XVMM" stat --json "$lab" 2>/dev/null | sed 's/{"name":/\n&/g' | grep "^{\"name\":\"$1\""
}

# Waits until that matches.
wait_stat() { # NIC REGEX
	local end=$((SECONDS + TIMEOUT))
	while [ $SECONDS -lt $end ]; do
		nic_stat "$1" >nic.log
		grep -Eq -- "$2" nic.log && return
		kill -0 "$pid" 2>/dev/null || die "xvmm ended before $1 had: $2"
		sleep 0.05
	done
	die "$1 has not got: $2"
}

# Frames that NIC has sent, or received, on a path. What ended guests have counted is kept.
path_count() { # NIC PATH tx|rx
	nic_stat "$1" | sed -E "s/.*\"$2\":\{([^}]*)\}.*/\1/; s/.*\"$3_frames\":([0-9]+).*/\1/"
}

want_path() { # NIC PATH tx|rx LEAST
	local n
	n=$(path_count "$1" "$2" "$3")
	[ "${n:-0}" -ge "$4" ] || die "$1 has ${n:-no} $3 frames on the path $2 instead of $4 at least"
}

want_no_path() { # NIC PATH tx|rx
	local n
	n=$(path_count "$1" "$2" "$3")
	[ "${n:-x}" = 0 ] || die "$1 has ${n:-no} $3 frames on the path $2 instead of 0"
}

# An event: NIC came to BINDING [for a reason].
had_event() { # NIC BINDING [WHY]
	"$XVMM" events --json "$lab" >events.log || die "events: status $?"
	grep -F "\"nic\":\"$1\"" events.log | grep -F "\"to\":\"$2\"" | grep -qF "\"why\":\"${3:-}"
}

want_event() { # as had_event
	had_event "$@" ||
		die "no event: $1 to $2 ${3:-}; $(nic_stat "$1" | grep -o '"not_mapped":"[^"]*"')"
}

# Asks for a binding until it is there.
swap_to() { # NIC BINDING
	local end=$((SECONDS + TIMEOUT))
	while [ $SECONDS -lt $end ]; do
		"$XVMM" swap "$lab" "$1" "$2" >swap.log 2>&1 || die "swap $1 $2: $(tail -n 1 swap.log)"
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			nic_stat "$1" | grep -q "\"binding\":\"$2\"" && return
			sleep 0.05
		done
	done
	die "$1 does not become $2"
}

mapped_end() { # VM…: these end by themselves
	local v
	for v; do
		wait_for "$v.log" '^(SUCCESS|FAIL)'
		wait_for err "$v: ended"
	done
}

# Coupled from the start: most frames of both lanes are never copied.
mapped_static() { # MODEL_A MODEL_B CMDLINE_A CMDLINE_B [LINE…]
	mapped_lab none "crosstalk = static"
	mapped_pair "$1" "$2" "frames=$MAPPED_FRAMES $3" "frames=$MAPPED_FRAMES $4" "${@:5}"
	control_start
	mapped_end a b
	want_faultless a b
	want_event a.eth0 mapped
	want_event b.eth0 mapped
	for v in a b; do
		want_path $v.eth0 mapped tx $((MAPPED_FRAMES / 4))
		want_path $v.eth0 mapped rx $((MAPPED_FRAMES / 4))
	done
	control_end
}

case_mapped_virtio_virtio() { mapped_static virtio virtio "" ""; }
case_mapped_e1000_virtio() { mapped_static e1000 virtio "slots=128" "slots=128"; }
case_mapped_e1000_e1000() { mapped_static e1000 e1000 "" ""; }
case_mapped_mmio() { mapped_static mmio virtio "" ""; }
case_mapped_polled() { mapped_static virtio virtio "mode=polled" "mode=polled"; }
case_mapped_e1000_polled() { mapped_static e1000 virtio "mode=polled" "mode=polled"; }
case_mapped_plain_ring() { mapped_static virtio virtio "indirect=0" "indirect=0 event_idx=0"; }
case_mapped_no_window() { mapped_static virtio virtio "window=0" "window=0"; }
case_mapped_sizes() { mapped_static virtio virtio "size=0" "size=0"; }
case_mapped_secrc() { mapped_static virtio e1000 "size=0" "size=0 secrc=1"; }
case_mapped_4k() { mapped_static virtio virtio "slot=4096 size=4000" "slot=4096 size=0"; }
case_mapped_64k() {
	MAPPED_FRAMES=6000
	mapped_static virtio virtio "slot=65536 size=65536 slots=64" "slot=65536 size=60000 slots=64" \
		"memory = 32M"
}
case_mapped_e1000_16k() {
	MAPPED_FRAMES=15000
	mapped_static e1000 virtio "slot=16384 size=16000 slots=64" "slot=16384 size=9000 slots=64"
}
case_mapped_few_slots() {
	MAPPED_FRAMES=15000
	mapped_static virtio virtio "slots=16" "slots=16"
}
# Other pages in each guest.
case_mapped_addresses() { mapped_static virtio e1000 "" "align=65536"; }
# Slots that begin in a page and end in the next can be paired only where both rings are at the same
# place, which they are or are not.
case_mapped_offset() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio e1000 "frames=$MAPPED_FRAMES offset=64" "frames=$MAPPED_FRAMES offset=64"
	control_start
	mapped_end a b
	want_faultless a b
	control_end
}
case_mapped_one_way() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" ""
	control_start
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx $((MAPPED_FRAMES / 4))
	control_end
}

# CPUs that the guest has never started, and that of one asleep, are held and let go like others.
case_mapped_cpus() { mapped_static virtio virtio "" "" "cpus = 3"; }

# The driver says so itself.
case_mapped_bit58() { mapped_static virtio virtio "bit58=1" "bit58=1" "slots = auto"; }

# Its vCPUs can't write to what it receives.
case_mapped_read_only() { mapped_static virtio virtio "" "" "receive-view = read-only"; }
case_mapped_read_only_e1000() { mapped_static e1000 e1000 "" "" "receive-view = read-only"; }

# By `peer =`, and found out by the detector.
case_mapped_peer() {
	mapped_lab none
	mapped_vm a 2 virtio slot_pair "peer=$(mac 3) frames=$MAPPED_FRAMES" "peer = b.eth0"
	mapped_vm b 3 virtio slot_pair "peer=$(mac 2) frames=$MAPPED_FRAMES"
	control_start
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx $((MAPPED_FRAMES / 4))
	want_path b.eth0 mapped tx $((MAPPED_FRAMES / 2))
	control_end
}
case_mapped_dynamic() {
	mapped_lab none "crosstalk = dynamic"
	mapped_pair virtio e1000 "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES"
	control_start
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx 1000
	want_path b.eth0 mapped tx 1000
	control_end
}
case_mapped_bridge() {
	need_netns
	mapped_lab bridge:xvb0 "crosstalk = dynamic"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES"
	control_start netns
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx 1000
	want_path b.eth0 mapped tx 1000
	control_end
}
case_mapped_tap() {
	need_netns
	mapped_lab tap:xvt0 "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES"
	control_start netns
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx 1000
	want_path b.eth0 mapped tx 1000
	control_end
}

# -- Never mapped, with the reason in `xvmm stat`; the frames come all the same.

mapped_refused() { # REASON CMDLINE_A CMDLINE_B [LINE…]
	local reason=$1
	control_start
	if [ -n "$reason" ]; then
		local end=$((SECONDS + TIMEOUT))
		until "$XVMM" stat "$lab" >stat.log && grep -q "$reason" stat.log; do
			[ $SECONDS -lt $end ] || die "xvmm stat does not say: $reason"
			kill -0 "$pid" 2>/dev/null || die "xvmm has ended"
			sleep 0.05
		done
	fi
	mapped_end a b
	want_faultless a b
	want_no_path a.eth0 mapped tx
	want_no_path b.eth0 mapped tx
	control_end
}

case_mapped_not_rings() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES rate=20000" "slots=128 frames=$MAPPED_FRAMES"
	mapped_refused 'rings 256/128'
}
case_mapped_not_stride() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES rate=20000" "slot=4096 frames=$MAPPED_FRAMES"
	mapped_refused 'stride 2048/4096'
}
case_mapped_not_domains() {
	mapped_lab none "crosstalk = static"
	mapped_vm a 2 virtio slot_pair "peer=$(mac 3) frames=$MAPPED_FRAMES rate=20000" "domain = one"
	mapped_vm b 3 virtio slot_pair "peer=$(mac 2) frames=$MAPPED_FRAMES" "domain = two"
	mapped_refused 'different domains'
}
case_mapped_not_offset() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES rate=20000" "offset=1024 frames=$MAPPED_FRAMES"
	mapped_refused ''
}
case_mapped_not_copy() {
	mapped_lab none "crosstalk = static" "memory = copy"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES"
	mapped_refused ''
}
case_mapped_not_fresh() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES bit58=1" "frames=$MAPPED_FRAMES" "slots = fresh"
	mapped_refused ''
}
case_mapped_not_declared() {
	mapped_lab none "crosstalk = static"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES" "slots = auto"
	mapped_refused ''
}

# -- Swaps under traffic

# Bindings at random, as fast as they go, until both guests have ended.
swap_at_random() { # BINDING…
	local nics=(a.eth0 b.eth0)
	while ! grep -Eqs '^(SUCCESS|FAIL)' a.log || ! grep -Eqs '^(SUCCESS|FAIL)' b.log; do
		"$XVMM" swap "$lab" "${nics[RANDOM % 2]}" "${@:RANDOM % $# + 1:1}" >/dev/null 2>&1
		kill -0 "$pid" 2>/dev/null || die "xvmm has ended"
	done
}

mapped_swaps() { # MODEL_A MODEL_B CMDLINE
	need_netns
	mapped_lab bridge:xvb0
	mapped_pair "$1" "$2" "$3" "$3"
	control_start netns
	swap_at_random uplink direct mapped
	mapped_end a b
	want_faultless a b
	want_event a.eth0 mapped
	want_event b.eth0 mapped
	want_path a.eth0 mapped tx 1
	want_path b.eth0 mapped tx 1
	control_end
}
case_mapped_swaps() { mapped_swaps virtio virtio "frames=$MAPPED_FRAMES size=0"; }
case_mapped_swaps_e1000() { mapped_swaps e1000 virtio "frames=$((MAPPED_FRAMES * 2 / 3)) size=0"; }
case_mapped_swaps_secret() {
	mapped_swaps virtio virtio "frames=$MAPPED_FRAMES secret=1"
	want a.log ' leak=0$'
	want b.log ' leak=0$'
}

case_mapped_secret() { mapped_static virtio e1000 "secret=1" "secret=1"; }

# -- Aliasing

mapped_alias() { # WRITER_MODEL WATCHER_MODEL [LINE…]
	mapped_lab none "crosstalk = dynamic"
	mapped_vm a 2 "$1" slot_alias "role=writer peer=$(mac 3) slots=32 calm=1" "${@:3}"
	mapped_vm b 3 "$2" slot_alias "role=watcher peer=$(mac 2) slots=32 want=no,yes,no,yes" "${@:3}"
	control_start
	wait_for b.log '^alias=no '
	swap_to a.eth0 mapped
	wait_for b.log '^alias=yes '
	swap_to a.eth0 direct
	wait_for b.log '^alias=no ' 2
	"$XVMM" swap "$lab" a.eth0 mapped || die "swap: status $?"
	mapped_end a b
	want_success a b
	control_end
}
case_mapped_alias() { mapped_alias virtio virtio; }
case_mapped_alias_e1000() { mapped_alias e1000 virtio; }
case_mapped_alias_to_e1000() { mapped_alias virtio e1000; }
case_mapped_alias_e1000_both() { mapped_alias e1000 e1000; }
case_mapped_alias_static() {
	mapped_lab none "crosstalk = static"
	mapped_vm a 2 virtio slot_alias "role=writer peer=$(mac 3) slots=32"
	mapped_vm b 3 e1000 slot_alias "role=watcher peer=$(mac 2) slots=32 want=yes stable=10"
	control_start
	mapped_end a b
	want_success a b
	control_end
}
case_mapped_alias_read_only() { mapped_alias virtio virtio "receive-view = read-only"; }

# -- Mixed traffic

# A quarter of it to somebody else, and some to all: copied out, the lane stays.
case_mapped_mixed() {
	mapped_lab none "crosstalk = static"
	mapped_vm a 2 virtio slot_pair \
		"peer=$(mac 3) other=$(mac 4) every=8 frames=40000 flood=1000" "peer = b.eth0"
	mapped_vm b 3 virtio slot_pair "peer=$(mac 2) frames=20000"
	mapped_vm c 4 e1000 slot_pair "peer=$(mac 2)"
	control_start
	mapped_end a b c
	want_faultless a b c
	want c.log ' frames=5000 '
	want_path a.eth0 mapped tx 10000
	want_path a.eth0 direct tx 1000
	control_end
}

# One that sits on its slots for longer than the deadline: its lane drops, nothing is lost.
case_mapped_hold() {
	mapped_lab none "crosstalk = static" "slot-deadline = 50ms"
	mapped_pair virtio virtio "frames=$MAPPED_FRAMES" "frames=$MAPPED_FRAMES hold=1000"
	control_start
	mapped_end a b
	want_faultless a b
	want_path a.eth0 mapped tx 1000
	want_event a.eth0 direct
	control_end
}

# A reboot in the middle: the other gets on with it.
case_mapped_peer_ends() {
	mapped_lab none "crosstalk = static"
	mapped_vm a 2 virtio slot_pair "peer=$(mac 3) frames=$((4 * MAPPED_FRAMES)) tolerate=1 timeout=2" "peer = b.eth0"
	mapped_vm b 3 virtio slot_hostile "breach=sit peer=$(mac 2) frames=10 timeout=1 from=5000"
	control_start
	mapped_end a b
	want_success a
	control_end
}

# -- Breaches of the contract: the victim ends, a mapped pair beside it notices nothing.

mapped_hostile() { # MODEL VICTIM_MODEL BREACH…
	local model=$1 victim=$2 breach extra view frames=$((MAPPED_FRAMES / 3))
	shift 2
	for breach; do
		extra='' view=read-write
		case $breach in
		rewrite) extra="window=0" ;; # acknowledgements are ruined too
		# Who writes to what it receives writes to what its sender is about to send.
		scribble) extra="window=0" view=read-only ;;
		esac
		[ "$breach" != shared ] || extra="offset=1024 slots=32"
		rm -f vm.ini ./*.log
		mapped_lab none "crosstalk = static"
		mapped_vm bad 2 "$model" slot_hostile \
			"breach=$breach peer=$(mac 3) frames=$frames often=$((frames / 7)) timeout=2 $extra" \
			"peer = victim.eth0" "receive-view = $view"
		mapped_vm victim 3 "$victim" slot_pair \
			"peer=$(mac 2) frames=$frames tolerate=1 timeout=3 $extra"
		mapped_vm c 4 virtio slot_pair "peer=$(mac 5) frames=$frames" "peer = d.eth0"
		mapped_vm d 5 virtio slot_pair "peer=$(mac 4) frames=$frames"
		echo "--- $breach $model $victim"
		control_start
		mapped_end victim c d bad
		want_success victim c d
		want_faultless c d
		want_path c.eth0 mapped tx $((frames / 20))
		case $breach in
		header) [ "$model" != virtio ] || want_no_path bad.eth0 mapped tx ;;
		shared) want_no_path bad.eth0 mapped tx ;;
		# A breach may come before it was ever mapped, and then it never is.
		move | order) ! had_event bad.eth0 mapped || want_event bad.eth0 direct slots ;;
		reset | shrink | garbage) ! had_event bad.eth0 mapped || want_event bad.eth0 direct reset ;;
		scribble) want_event victim.eth0 direct slots ;;
		esac
		control_end
	done
}

case_mapped_hostile_move() { mapped_hostile virtio virtio move; }
case_mapped_hostile_places() { mapped_hostile virtio virtio order header shared; }
case_mapped_hostile_times() { mapped_hostile virtio virtio early rewrite sit; }
case_mapped_hostile_scribble() { mapped_hostile virtio virtio scribble; }
case_mapped_hostile_resets() { mapped_hostile virtio virtio reset shrink garbage; }
case_mapped_hostile_e1000() { mapped_hostile e1000 virtio move order early rewrite; }
case_mapped_hostile_e1000_resets() { mapped_hostile e1000 virtio reset shrink garbage sit; }
case_mapped_hostile_to_e1000() { mapped_hostile virtio e1000 move rewrite reset garbage; }
