# Cross-talk, detected: three guests and the host on one bridge. All that two of them say to each
# other arrives unharmed before, during and after swaps, whatever protocol, VLAN or MTU it uses; the
# host stays in reach; a guest that turns to the host goes back to its uplink; one that takes its
# NIC down or reboots is found again.
. "$TOP/tests/linux/lib.sh"
. "$TOP/tests/linux/xt.sh"

before=$(interfaces)
{
	echo $'[net lan0]\nuplink = bridge:xvxt0'
	for g in alpha beta gamma; do
		xt_vm $g "ip=10.80.0.$(xt_number $g)/24"
		printf '[nic %s.eth0]\nnet = lan0\n' $g
	done
} | ini
xvmm_start
agents alpha beta gamma
xt_host xvxt0 10.80.0.254/24

# The host is no cross-talk.
xt_ping alpha 10.80.0.254 20
[ "$(swaps alpha.eth0 direct)" = 0 ] || fail "traffic to the host was taken for cross-talk"

step "two guests talk: swapped in the middle of it, both directions"
xt_ping alpha 10.80.0.2 40
await_swap alpha.eth0 direct traffic 1
await_swap beta.eth0 direct traffic 1
logged 'lan0: alpha\.eth0: uplink to direct \(traffic, [0-9]+ of the last [0-9]+ frames to beta\.eth0'
xt_tcp alpha 10.80.0.2 6
xt_tcp beta 10.80.0.1 6
xt_udp alpha 10.80.0.2

step "a third one joins in"
tell alpha "netprobe check 10.80.0.2 5001 6"
xt_tcp gamma 10.80.0.2 4
answer alpha || fail "TCP from alpha to beta beside gamma: $ANSWER"
await_swap gamma.eth0 direct traffic 1

step "IPv6"
ll=$(ip_ll beta)
must alpha "ping -6 -c 10 -i 0.05 $ll%eth0"
grep -q ' 0% packet loss' <<<"$ANSWER" || fail "IPv6: $ANSWER"
xt_tcp alpha "$ll%eth0" 2

step "VLAN"
for g in alpha beta; do
	must $g "ip link add link eth0 name eth0.5 type vlan id 5 && ip link set eth0.5 up && ip addr add 10.81.0.$(xt_number $g)/24 dev eth0.5"
done
xt_ping alpha 10.81.0.2 10
xt_tcp alpha 10.81.0.2 2

step "the host talks to a guest that is bound direct, and that guest turns to the host"
n=$(swaps alpha.eth0 uplink outside)
busybox ping -c 5 10.80.0.1 | grep -q ' 0% packet loss' || fail "the host cannot reach alpha"
xt_tcp alpha 10.80.0.254 4
await_swap alpha.eth0 uplink outside $((n + 1))
n=$(swaps alpha.eth0 direct traffic)
xt_tcp alpha 10.80.0.2 2
await_swap alpha.eth0 direct traffic $((n + 1))

step "jumbo frames"
xt_mtu xvxt0 9000
for g in alpha beta; do must $g "ip link set eth0 mtu 9000"; done
must alpha "ping -c 10 -i 0.05 -s 8900 10.80.0.2"
grep -q ' 0% packet loss' <<<"$ANSWER" || fail "jumbo frames: $ANSWER"
xt_tcp alpha 10.80.0.2 4
xt_tcp alpha 10.80.0.254 2 # and by the uplink

step "a NIC goes down and comes up"
tell alpha "ping -c 60 -i 0.05 10.80.0.2"
must beta "sleep 0.5; ip link set eth0 down; sleep 0.5; ip link set eth0 up"
answer alpha || fail "alpha: $ANSWER"
xt_ping alpha 10.80.0.2 10
xt_tcp beta 10.80.0.1 2
xt_tcp alpha 10.80.0.2 2

step "a guest reboots"
n=$(swaps beta.eth0 direct traffic)
tell alpha "ping -c 10 -i 0.1 10.80.0.2; true"
tell beta "reboot -f"
answer alpha
agents beta # their numbers go on, so an old answer is none
xt_ping alpha 10.80.0.2 20
xt_tcp alpha 10.80.0.2 2
xt_tcp gamma 10.80.0.2 2
await_swap beta.eth0 direct traffic $((n + 1))

dismiss alpha beta gamma
xvmm_wait 30
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
