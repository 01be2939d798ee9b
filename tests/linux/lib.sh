# Helpers for tests with stock Linux guests; sourced by tests/linux/t_*.sh, which tests/linux/run
# starts in a directory of its own ($T). A test exits 0, 77 (skipped; last line: why) or else.
#
# Needs root and a KVM that runs stock Linux.

set -u
# shellcheck disable=SC2034
IMAGES=${XVMM_IMAGES:-$TOP/guests/images}
K=$IMAGES/vmlinuz
I=$IMAGES/initrd.cpio.gz
# The clocks of the emulated host are too jumpy for the kernel's checks; nowhere else is a special
# parameter needed.
CMDLINE="console=ttyS0 quiet${XVMM_EMUHOST:+ $([ "$(uname -m)" != x86_64 ] || echo "tsc=reliable no_timer_check")}"

case $(uname -m) in
aarch64) CLOCKSOURCE=arch_sys_counter ;;
*) CLOCKSOURCE=kvm-clock ;;
esac

fail() {
	echo "failed: $*"
	for f in "$T"/*.con "$T"/xvmm.log; do
		[ ! -s "$f" ] || { echo "--- ${f##*/}" && tail -n 60 "$f"; }
	done
	if [ -n "${XPID:-}" ] && kill -0 "$XPID" 2>/dev/null; then
		look_in
		kill -KILL "$XPID"
	fi
	exit 1
}

# Whose fault a hang is, for whoever has nothing but the log: what the lab has counted, before and after;
# what xvmm's threads wait for; whether each processor of this machine still gets its timer
# interrupts, without which no guest on it does.
look_in() {
	local cpu
	echo "--- stat" && timeout 10 "$XVMM" stat --json vm
	echo "--- threads" && "$TOP/tests/timed" --threads "$XPID"
	echo "--- timers" && grep -E 'CPU|LOC|arch_timer' /proc/interrupts
	for cpu in $(seq 0 $(($(nproc --all) - 1))); do
		timeout 5 taskset -c "$cpu" sleep 0.2 || echo "CPU $cpu: a sleep of 0.2 s does not end"
	done
	grep -E 'LOC|arch_timer' /proc/interrupts
	echo "--- interfaces" && ip -s link
	echo "--- stat" && timeout 10 "$XVMM" stat --json vm
	echo "--- kernel" && dmesg | tail -n 20
} 2>&1

# vm NAME PARAMETERS [LINES…]: one [vm] section with its console in $T/NAME.con. A guest's parameters
# are those of guests/linux/init.
vm() {
	local name=$1 params=$2 line
	shift 2
	printf '[vm %s]\nkernel = %s\ninitrd = %s\ncmdline = %s name=%s %s\n' "$name" "$K" "$I" \
		"$CMDLINE" "$name" "$params"
	printf 'console = file:%s\n' "$T/$name.con"
	case "$*" in *"memory ="*) ;; *) echo "memory = 192M" ;; esac
	for line in "$@"; do echo "$line"; done
	echo
}
# The vm.ini comes on standard input.
ini() { cat >"$T/vm.ini"; }

# Starts xvmm in the background.
xvmm_start() {
	rm -f "$T"/*.con # no results of an earlier run
	"$XVMM" run "$T/vm.ini" >"$T/xvmm.log" 2>&1 </dev/null &
	XPID=$!
}
# Waits at most $1 seconds for its end, or until a guest says that it is stuck; its status is in RC.
xvmm_wait() {
	local end=$((SECONDS + $1)) error
	while ! timeout 2 tail --pid="$XPID" -f /dev/null; do
		[ $SECONDS -lt $end ] || fail "xvmm did not end within $1 s"
		error=$(grep -ho 'RESULT error=[^[:cntrl:]]*' "$T"/*.con 2>/dev/null | head -n 1)
		[ -z "$error" ] || fail "a guest says: ${error#RESULT }"
	done
	RC=0
	wait "$XPID" || RC=$?
}
# Runs to the end, with the expected status.
xvmm_run() {
	xvmm_start
	xvmm_wait "$1"
	[ "$RC" = "${2:-0}" ] || fail "xvmm ended with status $RC instead of ${2:-0}"
}
# result GUEST KEY: the last value reported.
result() { [ ! -e "$T/$1.con" ] || tr -d '\r' <"$T/$1.con" | sed -n "s/^.*RESULT $2=//p" | tail -n 1; }
# expect GUEST KEY VALUE
expect() {
	local got
	got=$(result "$1" "$2")
	[ "$got" = "$3" ] || fail "$1: $2 is '$got' instead of '$3'"
}
logged() { grep -qE "$1" "$T/xvmm.log" || fail "no log line matches: $1"; }
# Waits until GUEST has reported KEY; at most 60 s.
await() {
	local n
	for ((n = 0; n < 300; n++)); do
		[ -z "$(result "$1" "$2")" ] || return 0
		kill -0 "$XPID" 2>/dev/null || fail "xvmm ended before $1 reported $2"
		sleep 0.2
	done
	fail "$1 never reported $2"
}
no_interface() {
	local i
	for i in "$@"; do
		[ ! -e "/sys/class/net/$i" ] || fail "interface $i is still there"
	done
}
# What xvmm could have left: names of all interfaces.
interfaces() { ls /sys/class/net; }

# -- Guests that do as they are told: role=agent, with the line "virtio-console = pty" --

. "$TOP/guests/linux/agents.sh"

# agents GUEST…: after xvmm_start; waits until they listen.
agents() {
	local g
	for g in "$@"; do
		await "$g" up_s
		agent_open "$g" "$T/xvmm.log" || fail "$g does not listen"
	done
}
# must GUEST COMMAND [SECONDS]: as ask, and it has to succeed.
must() {
	ask "$@" || fail "$1: $2: status $?: $ANSWER"
}

# Number of log lines that say that NIC was swapped to BINDING [because of WHY].
swaps() { grep -cE "$1: [a-z]+ to $2 \\(${3:-}" "$T/xvmm.log" || :; }
# await_swap NIC BINDING WHY NUMBER: waits until there are as many.
await_swap() {
	local n
	for ((n = 0; n < 50; n++)); do
		[ "$(swaps "$1" "$2" "$3")" -lt "$4" ] || return 0
		sleep 0.1
	done
	fail "$1 was swapped to $2 ($3) $(swaps "$1" "$2" "$3") times instead of $4"
}
