# Cross-talk by configuration and by command, in one boot with a NIC for each: static and peer = are
# direct from the start, off never is; swaps by hand in the midst of traffic lose, double and
# reorder nothing.
. "$TOP/tests/linux/lib.sh"
. "$TOP/tests/linux/xt.sh"

before=$(interfaces)
{
	for net in '0 dynamic' '1 static' '2 off' '3 dynamic'; do
		printf '[net lan%d]\nuplink = bridge:xvxt%d\ncrosstalk = %s\n' "${net% *}" "${net% *}" "${net#* }"
	done
	for g in alpha beta; do
		xt_vm $g "ip=10.80.0.$(xt_number $g)/24"
		for n in 0 1 2 3; do printf '[nic %s.eth%d]\nnet = lan%d\n' $g $n $n; done
		[ $g = beta ] || echo "peer = beta.eth3"
	done
} | ini
xvmm_start
agents alpha beta
for n in 1 2 3; do
	for g in alpha beta; do must $g "ip addr add 10.80.$n.$(xt_number $g)/24 dev eth$n"; done
done

# stat FILTER: of xvmm stat --json.
stat() { "$XVMM" stat --json vm | tr -d ' \n'; }
# direct_frames NIC: that it has sent directly; uplink_frames: by its TAP.
path_frames() { stat | sed -n "s/^.*\"name\":\"$1\".*/&/p" | sed "s/^.*\"name\":\"$1\"//" | grep -o "\"$2\":{\"tx_frames\":[0-9]*" | head -n 1 | sed 's/.*://'; }

step "static: direct from the start"
xt_ping alpha 10.80.1.2 10
for g in alpha beta; do
	await_swap $g.eth1 direct static 1
	[ "$(path_frames $g.eth1 direct)" -ge 10 ] || fail "$g.eth1 sent $(path_frames $g.eth1 direct) frames directly"
done
xt_tcp alpha 10.80.1.2 2

step "peer: so are these"
xt_ping alpha 10.80.3.2 10
for g in alpha beta; do
	await_swap $g.eth3 direct peer 1
	[ "$(path_frames $g.eth3 direct)" -ge 10 ] || fail "$g.eth3 sent $(path_frames $g.eth3 direct) frames directly"
done

step "off: never"
xt_ping alpha 10.80.2.2 20
xt_tcp alpha 10.80.2.2 4
for g in alpha beta; do
	[ "$(swaps $g.eth2 direct)" = 0 ] || fail "$g.eth2 was swapped"
	[ "$(path_frames $g.eth2 direct)" = 0 ] || fail "$g.eth2 sent frames directly"
done

step "swaps by hand in the midst of TCP both ways, UDP and pings"
swap_all() {
	local g
	for g in alpha beta; do
		"$XVMM" swap vm $g.eth0 "$1" >/dev/null || fail "xvmm swap vm $g.eth0 $1"
	done
}
tell alpha "netprobe check 10.80.0.2 5001 24 >/tmp/tcp & netprobe udp 10.80.0.2 5001 600 1000 4 >/tmp/udp & ping -c 100 -i 0.03 10.80.0.2 >/tmp/ping; wait; cat /tmp/tcp /tmp/udp /tmp/ping"
tell beta "netprobe check 10.80.0.1 5001 16"
for ((n = 0; n < 20; n++)); do
	swap_all direct
	sleep 0.1
	swap_all uplink
	sleep 0.1
done
answer alpha || fail "alpha: $ANSWER"
[ "$(answered check_ok)" = 1 ] || fail "TCP across swaps: $ANSWER"
for what in lost doubled reordered; do
	[ "$(answered udp_$what)" = 0 ] || fail "UDP across swaps: $what: $ANSWER"
done
grep -q ' 0% packet loss' <<<"$ANSWER" || fail "pings across swaps: $ANSWER"
! grep -q 'DUP!' <<<"$ANSWER" || fail "pings across swaps: doubled"
answer beta || fail "beta: $ANSWER"
[ "$(answered check_ok)" = 1 ] || fail "TCP across swaps: $ANSWER"
n=$(swaps alpha.eth0 direct command)
[ "$n" -ge 15 ] || fail "alpha.eth0 was swapped $n times only"
[ "$(path_frames alpha.eth0 direct)" -gt 0 ] && [ "$(path_frames alpha.eth0 uplink)" -gt 0 ] ||
	fail "one of the paths was not used"

dismiss alpha beta
xvmm_wait 30
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
