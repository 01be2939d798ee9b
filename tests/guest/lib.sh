# What the cases of tests/guest are made of. A case runs in a directory of its own, in a subshell, and
# ends by returning (PASS), by die (FAIL) or by skip.

die() {
	echo "$*" >reason
	exit 1
}

skip() {
	echo "$*" >reason
	exit 77
}

# Leaves no process of the case behind.
case_end() {
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -9 $pids 2>/dev/null
}

show_logs() { # directory
	local f
	for f in "$1"/vm.ini "$1"/case.out "$1"/out "$1"/err "$1"/*.log; do
		[ -s "$f" ] || continue
		echo "--- $(basename "$f")"
		tail -n 80 "$f" | cut -c1-300 | tr -d '\000'
	done
}

need_arch() { [ "$(uname -m)" = "$1" ] || skip "for $1 only"; }
need_root() { [ "$(id -u)" -eq 0 ] || skip "needs root"; }
need_netns() {
	need_root
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	command -v ip >/dev/null || skip "no ip command (iproute2)"
	unshare -n true 2>/dev/null || skip "network namespaces cannot be made"
}
need_memory() { # MiB
	local have
	have=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$have" -ge "$1" ] || skip "needs $1 MiB of free memory, there are $have"
}

# --- vm.ini

ini() { printf '%s\n' "$@" >>vm.ini; }

# The file that a tiny guest boots from: an ELF file on x86, a Linux Image on arm64.
kernel() {
	local f=$GUESTS/$1.img
	[ -e "$f" ] || f=$GUESTS/$1.elf
	[ -e "$f" ] || skip "$(uname -m) has no such guest: $1"
	echo "$f"
}

# vm NAME GUEST CMDLINE [LINE…]: a guest with its console in NAME.log.
vm() {
	local name=$1 file cmdline=$3 line
	file=$(kernel "$2") || exit 77
	shift 3
	ini "[vm $name]" "kernel = $file" "cmdline = $cmdline"
	for line in "memory = 16M" "console = file:$name.log"; do
		# A line of the case's own replaces a default.
		printf '%s\n' "$@" | grep -q "^${line%% *} *=" || ini "$line"
	done
	[ $# -eq 0 ] || ini "$@"
}

net() { ini "[net $1]" "uplink = ${2:-none}"; }
nic() { ini "[nic $1]" "net = $2" "mac = $3"; } # VM.NAME NET MAC

mac() { printf '52:54:00:00:%02x:%02x' $(($1 / 256)) $(($1 % 256)); }

# --- running

# Runs xvmm on vm.ini to its end; its status in $rc, its output in out and err.
xvmm_run() {
	"$TIMED" "$TIMEOUT" "$XVMM" run vm.ini >out 2>err
	rc=$?
	[ $rc -ne 124 ] || die "not at its end after $TIMEOUT s"
}

# The same in a network namespace of its own, after and before commands of the caller.
xvmm_run_netns() { # BEFORE AFTER
	unshare -n bash -euc "ip link set lo up
		$1
		status=0
		$TIMED $TIMEOUT '$XVMM' run vm.ini >out 2>err || status=\$?
		echo \$status >status
		$2" || die "in the namespace: ${2:-$1}: $(tail -n 1 case.out)"
	rc=$(cat status)
	[ "$rc" -ne 124 ] || die "not at its end after $TIMEOUT s"
}

# Starts xvmm in the background; its process id in $pid.
xvmm_start() {
	"$XVMM" run vm.ini >out 2>err &
	pid=$!
}

# Waits for the end of what xvmm_start started; its status in $rc.
xvmm_wait() {
	local end=$((SECONDS + TIMEOUT))
	while [ $SECONDS -lt $end ]; do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	if kill -0 "$pid" 2>/dev/null; then
		"$TIMED" --threads "$pid" >threads.log
		kill -9 "$pid"
		die "${1:-not at its end} after $TIMEOUT s"
	fi
	wait "$pid"
	rc=$?
}

# --- checking

want_rc() { [ "$rc" -eq "$1" ] || die "xvmm's exit status is $rc instead of $1${2:+ ($2)}"; }

want() { # FILE REGEX…
	local file=$1 re
	shift
	for re in "$@"; do
		tr -d '\r\000' <"$file" 2>/dev/null | grep -Eq -- "$re" || die "$file has no line like: $re"
	done
}

want_not() { # FILE REGEX
	! tr -d '\r\000' <"$1" 2>/dev/null | grep -Eq -- "$2" || die "$1 has a line like: $2"
}

want_success() { # VM…
	local v
	for v in "$@"; do
		want_not "$v.log" '^FAIL'
		want "$v.log" '^SUCCESS$'
	done
}

# Waits until FILE has at least COUNT (default 1) lines like REGEX.
wait_for() { # FILE REGEX [COUNT]
	local n end=$((SECONDS + TIMEOUT))
	while [ $SECONDS -lt $end ]; do
		n=$(tr -d '\r\000' <"$1" 2>/dev/null | grep -Ec -- "$2")
		[ "${n:-0}" -ge "${3:-1}" ] && return
		if [ -n "${pid:-}" ] && ! kill -0 "$pid" 2>/dev/null; then
			die "xvmm ended before $1 had ${3:-1} lines like: $2"
		fi
		sleep 0.1
	done
	die "$1 has not got ${3:-1} lines like: $2"
}

# One guest alone, which must say SUCCESS and end with 33.
one_guest() { # GUEST CMDLINE [LINE…]
	vm a "$@"
	xvmm_run
	want_success a
	want_rc 33
}
