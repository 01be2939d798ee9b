# One guest: boot protocols, ways to end, platform devices, memory, processors.

case_first_port() {
	vm a first_port ""
	xvmm_run
	want_rc 33
}

case_hello() {
	one_guest hello "lines=3"
	want a.log '^hello$' '^line 2 of 3$'
}

# The runner and the ABI must be able to fail.
case_hello_fails() {
	vm a hello "expect=something else"
	xvmm_run
	want_rc 35
	want a.log '^FAIL: command line was cut$'
}

case_hello_long_cmdline() {
	one_guest hello "a=$(printf '%01500d' 1) b=x;y #c expect=the_end"
}

case_hello_initrd() {
	echo "what the initrd holds" >initrd
	one_guest hello module "initrd = initrd"
	want a.log '^module: 22 bytes: what the initrd holds$'
}

case_debug_exit() {
	local v
	for v in 0:1 3:7 16:33 17:35; do
		rm -f vm.ini
		vm a debug_exit "value=${v%:*}"
		xvmm_run
		want_rc "${v#*:}" "value ${v%:*}"
	done
}

case_debug_exit_wide() {
	local w
	for w in 2 4; do
		rm -f vm.ini
		vm a debug_exit "value=5 width=$w"
		xvmm_run
		want_rc 11 "width $w"
	done
}

case_poweroff() {
	vm a poweroff ""
	xvmm_run
	want_rc 0
	want_success a
	want err 'a.*power'
}

case_timer() { one_guest timer ""; }
case_odd_access() { one_guest odd_access ""; }
case_ring3() { one_guest ring3 ""; }
case_smp_2() { one_guest smp cpus=2 "cpus = 2"; }
case_smp_20() { # more than one cluster of 16
	need_arch aarch64
	one_guest smp cpus=20 "cpus = 20"
}
case_smp_4() { one_guest smp cpus=4 "cpus = 4"; }
case_mem_small() { one_guest mem ram=$((20 << 20)) "memory = 20M"; }
case_mem_3g() {
	need_memory 3584
	one_guest mem ram=$((3 << 30)) "memory = 3G"
}

case_mem_6g() {
	need_memory 6656
	one_guest mem ram=$((6 << 30)) "memory = 6G"
	case $(uname -m) in
	x86_64) want a.log '^memmap: 000100000000-0001c0000000 type 1' ;;
	aarch64) want a.log '^memmap: 000040000000-0001c0000000 type 1' ;;
	esac
}

case_mb() {
	echo "one and more" >m1
	echo "two and more" >m2
	one_guest mb "modules=2 mem=14000 expect=the_end" "module = m1 one" "module = m2 two"
	want a.log '^hello by multiboot' '^module 1: 13 bytes'
}

case_mb_alone() { one_guest mb "modules=0"; }

reset_once() { # HOW STATUS KEY
	case $1 in psci) need_arch aarch64 ;; *) need_arch x86_64 ;; esac
	vm a reset "how=$1" "$3 = stop"
	xvmm_run
	want_rc "$2"
	[ "$(grep -c '^boot' a.log)" -eq 1 ] || die "it booted more than once"
	want_not a.log FAIL
}

case_reset_stop_cf9() { reset_once cf9 0 on-reboot; }
case_reset_stop_psci() { reset_once psci 0 on-reboot; }
case_reset_stop_kbd() { reset_once kbd 0 on-reboot; }
case_triple_fault_stop() {
	reset_once triple 4 on-crash
	want err 'a.*triple fault'
}

reset_again() { # HOW KEY
	case $1 in psci) need_arch aarch64 ;; *) need_arch x86_64 ;; esac
	vm a reset "how=$1" "$2 = restart"
	ini "[lab]" "shutdown-timeout = 1"
	xvmm_start
	wait_for a.log '^boot' 3
	want_not a.log FAIL
	kill -TERM "$pid"
	xvmm_wait "still there, SIGTERM"
	want_not a.log FAIL
}

case_reset_again_cf9() { reset_again cf9 on-reboot; }
case_reset_again_psci() { reset_again psci on-reboot; }
case_reset_again_kbd() { reset_again kbd on-reboot; }
case_triple_fault_again() { reset_again triple on-crash; }

# A panic is reported by name, and ends that guest only.
case_panic() {
	vm a panic "then=hang" "on-crash = stop"
	vm b hello "lines=20 exit=poweroff"
	xvmm_run
	want_rc 4
	want err 'a.*panic'
	want_success b
}

case_triple_fault_beside() {
	need_arch x86_64
	vm a reset how=triple "on-crash = stop"
	vm b hello "lines=20 exit=poweroff"
	xvmm_run
	want_rc 4
	want err 'a.*triple fault'
	want_success b
}

case_several_statuses() { # the first one that is not 0 is xvmm's
	vm a hello "exit=poweroff"
	vm b debug_exit "value=3"
	xvmm_run
	want_rc 7
	want_success a
}
