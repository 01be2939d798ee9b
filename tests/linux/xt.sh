# Helpers for the cross-talk tests t_xt_*.sh; sourced after lib.sh. Every guest is an agent with
# netprobe behind port 5001.

# step TEXT: where we are, with the time.
step() { echo "($SECONDS s) $*"; }
xt_number() {
	case $1 in alpha) echo 1 ;; beta) echo 2 ;; *) echo 3 ;; esac
}
# xt_vm NAME PARAMETERS [LINES…]
xt_vm() {
	local name=$1 params=$2
	shift 2
	vm "$name" "role=agent $params" 'memory = 128M' 'virtio-console = pty' "$@"
}
# xt_host BRIDGE ADDRESS: the host takes part.
xt_host() {
	ip addr add "$2" dev "$1"
	"$PROBE" serve 5001 >/dev/null 2>&1 &
	HOST_SERVER=$!
	trap 'kill $HOST_SERVER 2>/dev/null' EXIT
}
xt_mtu() {
	local port
	for port in "/sys/class/net/$1/brif/"*; do
		ip link set "${port##*/}" mtu "$2"
	done
	ip link set "$1" mtu "$2"
}
ip_ll() {
	must "$1" "ip -6 addr show dev eth0 scope link"
	sed -n 's|^.*inet6 \(fe80[^/]*\)/.*|\1|p' <<<"$ANSWER"
}
# xt_ping GUEST ADDRESS NUMBER: every single one is answered.
xt_ping() {
	must "$1" "ping -c $3 -i 0.05 $2"
	grep -q ' 0% packet loss' <<<"$ANSWER" || fail "$1: ping $2: $ANSWER"
	! grep -q 'DUP!' <<<"$ANSWER" || fail "$1: ping $2: doubled: $ANSWER"
}
# xt_tcp GUEST ADDRESS MIB: the other end must have got the same.
xt_tcp() {
	must "$1" "netprobe check $2 5001 $3"
	[ "$(answered check_ok)" = 1 ] || fail "$1: TCP to $2: $ANSWER"
}
# xt_udp GUEST ADDRESS: nothing lost, doubled, or out of order, in any size.
xt_udp() {
	local bytes
	for bytes in 64 1400 6000; do
		must "$1" "netprobe udp $2 5001 400 $bytes 8"
	done
}
PROBE=${XVMM_BUILD:-$TOP/build}/linux-tools/netprobe
