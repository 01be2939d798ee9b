# The control socket: xvmm stat, events and swap on running labs.

# A name that no other lab of this machine has, and a guest that lives until the power button.
control_lab() {
	lab=case-$BASHPID
	ini "[lab]" "name = $lab"
	vm keep power_button ""
}

# Starts the lab in a network namespace of its own ($1 = netns) or not, until it answers.
control_start() {
	local i
	if [ "${1:-}" = netns ]; then
		unshare -n "$XVMM" run vm.ini >out 2>err &
	else
		"$XVMM" run vm.ini >out 2>err &
	fi
	pid=$!
	for ((i = 0; i < TIMEOUT * 10; i++)); do
		"$XVMM" stat "$lab" >stat 2>stat.err && return
		sleep 0.1
	done
	die "the lab does not answer: $(tail -n 1 stat.err)"
}

control_end() {
	wait_for keep.log 'waiting for the power button'
	kill -TERM "$pid"
	xvmm_wait "not ended by SIGTERM"
}

case_control_stat() {
	control_lab
	net lan
	pair 1 lan "frames=300 size=100"
	vm r reset "how=cf9" "on-reboot = restart"
	control_start
	want stat "^lab $lab: pid $pid, up " '^GUEST +STATE' '^keep +running +1 +16 ' '^s1.eth0 +lan '
	wait_for err 's1: ended'
	wait_for err 'e1: ended'
	wait_for r.log '^boot$' 4
	"$XVMM" stat --json "$lab" >json || die "stat --json: status $?"
	[ "$(wc -l <json)" = 1 ] || die "not one line"
	# What ended guests have counted is kept.
	want json '"name":"s1","state":"ended"' '"name":"s1.eth0",[^}]*"binding":null' \
		'"name":"s1.eth0",.*"counters":\{"tx_frames":(30[0-9]|3[1-9][0-9]),.*"name":"e1.eth0"' \
		'"direct":\{"tx_frames":3[0-9][0-9],' '"name":"r","state":"(running|restarting)",.*"restarts":[1-9]'
	want_not json '"doorbells":0.*"doorbells":0'
	control_end
	"$XVMM" stat "$lab" 2>stat.err && die "the lab has ended, but answers"
	want stat.err "no lab $lab is running"
}

case_control_usage() {
	"$XVMM" stat a b 2>err
	rc=$?
	want_rc 2
	"$XVMM" swap x.eth0 2>err
	rc=$?
	want_rc 2
	"$XVMM" swap x.eth0 sideways 2>err
	rc=$?
	want_rc 2
	want err 'uplink, direct, mapped or auto: sideways'
	"$XVMM" events --what 2>err
	rc=$?
	want_rc 2
	"$XVMM" stat no-such-lab 2>err
	rc=$?
	want_rc 1
	[ "$(wc -l <err)" = 1 ] || die "not one line"
}

# A killed lab's socket is no obstacle; a living one's name is.
case_control_stale_and_taken() {
	control_lab
	control_start
	kill -9 "$pid"
	xvmm_wait
	"$XVMM" stat "$lab" 2>stat.err && die "a killed lab answers"
	control_start
	want_not err 'no control socket'
	(
		timeout 20 "$XVMM" run vm.ini >out2 2>err2 &
		echo $! >pid2
		wait
	) &
	wait_for err2 "a lab of the name $lab is running"
	"$XVMM" stat "$lab" >stat || die "the first one does not answer"
	want stat "^lab $lab: pid $pid,"
	kill -TERM "$(cat pid2)"
	control_end
}

# By hand and back, while frames flow; none is lost.
case_control_swap() {
	need_netns
	control_lab
	net lan bridge:xvbr0
	ini "crosstalk = dynamic"
	pair 1 lan "frames=3000 size=100 window=8"
	control_start netns
	"$XVMM" events --follow "$lab" >events &
	wait_for events 's1.eth0: uplink -> direct, to e1.eth0'
	"$XVMM" swap "$lab" s1.eth0 uplink >swap || die "swap: status $?"
	wait_for events 's1.eth0: direct -> uplink.*: command'
	"$XVMM" stat "$lab" >stat
	want stat '^s1.eth0 +lan +uplink! '
	"$XVMM" swap "$lab" s1.eth0 direct || die "swap: status $?"
	wait_for events 's1.eth0: uplink -> direct.*: command'
	"$XVMM" swap "$lab" s1.eth0 auto || die "swap: status $?"
	"$XVMM" swap "$lab" nobody.eth0 auto 2>swap.err && die "swapped a NIC that is not there"
	want swap.err "lab $lab has no NIC nobody.eth0"
	wait_for s1.log '^SUCCESS$'
	wait_for e1.log '^SUCCESS$'
	want_pair 1
	"$XVMM" events --json "$lab" >json || die "events: status $?"
	want json '^\{"seq":1,' '"why":"command"'
	control_end
	# Who follows sees the end of the lab.
	sleep 1
	[ -z "$(jobs -rp)" ] || die "xvmm events has not ended with the lab"
}
