# Consoles, signals, time limits, and what is left behind.

case_console_stdio() {
	vm a hello "lines=5" "console = stdio"
	xvmm_run
	want out '^hello$' '^line 4 of 5$' '^SUCCESS$'
}

case_console_prefixes() {
	vm alpha hello "lines=5 exit=poweroff" "console = stdio"
	vm beta hello "lines=5 exit=poweroff" "console = stdio"
	xvmm_run
	want_rc 0
	want out '^alpha\| line 4 of 5$' '^beta\| line 4 of 5$'
	! tr -d '\r' <out | grep -Evq '^(alpha|beta)\| ' || die "a line without a prefix"
}

case_console_stdin() {
	vm a hello "read" "console = stdio"
	printf 'first line\nend\n' | "$TIMED" "$TIMEOUT" "$XVMM" run vm.ini >out 2>err
	rc=$?
	want_rc 33
	want out '^got: first line$' '^SUCCESS$'
}

case_console_file() {
	echo "from before" >a.log
	one_guest hello ""
	want_not a.log 'from before'
}

case_console_none() {
	vm a hello "" "console = none"
	xvmm_run
	want_rc 33
}

case_console_pty() {
	local tty
	# What is said while the pty has no client is dropped: the guest waits for one.
	vm a hello "wait read" "console = pty"
	xvmm_start
	wait_for err '/dev/pts/[0-9]+'
	tty=$(grep -Eo '/dev/pts/[0-9]+' err | head -n 1)
	exec 3<>"$tty" || die "$tty does not open"
	stty -F "$tty" raw -echo 2>/dev/null
	cat <&3 >pty.log &
	printf 'x' >&3
	wait_for pty.log '^reading'
	# One after the other: what is unread when xvmm closes its end of the pty is lost.
	printf 'over the pty\n' >&3
	wait_for pty.log '^got: over the pty'
	printf 'end\n' >&3
	xvmm_wait
	want_rc 33
}

case_console_unix() {
	vm a hello "read" "console = unix:con.sock"
	xvmm_start
	local i
	for ((i = 0; i < TIMEOUT * 10 && i >= 0; i++)); do
		[ -S con.sock ] && break
		sleep 0.1
	done
	perl -MIO::Socket::UNIX -e '
		my $s = IO::Socket::UNIX->new(Peer => "con.sock") or die "connect: $!";
		$s->autoflush(1);
		print $s "over the socket\nend\n";
		while (<$s>) { print }' >unix.log 2>&1 || die "$(cat unix.log)"
	xvmm_wait
	want_rc 33
	want unix.log '^got: over the socket'
	[ ! -e con.sock ] || die "the socket is left over"
}

case_console_unix_stale() { # a socket that nobody listens to any more is replaced
	perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "con.sock", Listen => 1)'
	[ -S con.sock ] || skip "no stale socket could be made"
	vm a hello "" "console = unix:con.sock"
	xvmm_run
	want_rc 33
	[ ! -e con.sock ] || die "the socket is left over"
}

# On a terminal: raw while the guest runs, as it was afterwards, whichever way it ends.
terminal() { # LAST WORD OF THE GUEST BEFORE THE COMMANDS, COMMANDS with xvmm's process in $p
	command -v script >/dev/null || skip "no script command (bsdutils)"
	cat >session <<-END
		stty -g >before
		(
			for i in \$(seq $((TIMEOUT * 10))); do
				grep -qs '$1' typescript.log && break
				sleep 0.1
			done
			stty -g </dev/tty >during
			p=\$(cat pid)
			$2
		) &
		bash -c 'echo \$\$ >pid; exec "\$XVMM" run vm.ini' 2>err
		echo \$? >status
		stty -g >after
		wait
	END
	# Keys come from a pipe that stays open: an end of input would reach the guest as Ctrl-D.
	mkfifo keys
	exec 4<>keys
	timeout -k 10 $((TIMEOUT + 20)) script -qec "bash ./session" /dev/null <&4 >typescript.log 2>&1
	[ -s after ] || die "the session did not come to its end"
	[ -s during ] || die "the guest did not say: $1"
	! cmp -s before during || die "the terminal is not raw while the guest runs"
	cmp -s before after || die "the terminal's settings are not restored"
	rc=$(cat status)
}

case_terminal_restored() {
	vm a hello read "console = stdio"
	terminal reading "printf 'over the terminal\rend\r' >keys"
	want_rc 33
	want typescript.log '^got: over the terminal'
}

case_terminal_ctrl_a_x() {
	vm a power_button "" "console = stdio"
	terminal waiting "printf '\001x' >keys"
	want_rc 0
}

case_terminal_sigterm() {
	vm a hello hang "console = stdio"
	ini "[lab]" "shutdown-timeout = 1"
	terminal hanging 'kill -TERM $p'
	want_rc 4
}

case_terminal_two_signals() {
	vm a hello hang "console = stdio"
	ini "[lab]" "shutdown-timeout = 3000"
	terminal hanging 'kill -TERM $p; sleep 1; kill -TERM $p'
	want_rc 4
}

case_terminal_fatal_signal() {
	vm a hello hang "console = stdio"
	terminal hanging 'kill -SEGV $p'
	want_rc 139
}

case_sigterm_power_button() {
	vm a power_button ""
	vm b power_button ""
	xvmm_start
	wait_for a.log '^waiting'
	wait_for b.log '^waiting'
	kill -TERM "$pid"
	xvmm_wait "still there, SIGTERM"
	want_rc 0
	want_success a b
}

case_sigint_power_button() {
	vm a power_button ""
	# A background process of a shell ignores SIGINT: xvmm has to say that it wants it.
	xvmm_start
	wait_for a.log '^waiting'
	kill -INT "$pid"
	xvmm_wait "still there, SIGINT"
	want_rc 0
	want_success a
}

case_sigterm_hung() { # killed when the time limit is over; the one that obeys ends well
	vm a hello hang
	vm b power_button ""
	vm c hello spin
	ini "[lab]" "shutdown-timeout = 2"
	xvmm_start
	wait_for a.log '^hanging'
	wait_for c.log '^spinning'
	wait_for b.log '^waiting'
	kill -TERM "$pid"
	xvmm_wait "still there, SIGTERM"
	want_rc 4
	want_success b
	want err 'a.*kill' 'c.*kill'
}

case_second_signal() {
	vm a hello hang
	ini "[lab]" "shutdown-timeout = 3000"
	xvmm_start
	wait_for a.log '^hanging'
	kill -TERM "$pid"
	wait_for err 'shut down'
	kill -TERM "$pid"
	xvmm_wait "still there, a second SIGTERM"
	want_rc 4
}

case_smp_killed() { # halted, spinning and waiting CPUs all end
	vm a smp "cpus=4" "cpus = 4"
	vm b hello spin "cpus = 4"
	ini "[lab]" "shutdown-timeout = 1"
	xvmm_start
	wait_for b.log '^spinning'
	wait_for a.log '^SUCCESS'
	kill -TERM "$pid"
	xvmm_wait "still there, SIGTERM"
}

case_nothing_left() { # neither files nor sockets, and no process
	vm a hello "" "console = unix:con.sock"
	vm b hello ""
	ls -A >before.txt
	touch after.txt out err b.log
	ls -A >before.txt
	xvmm_run
	ls -A >after.txt
	cmp -s before.txt after.txt || die "left over: $(comm -13 before.txt after.txt | tr '\n' ' ')"
}
