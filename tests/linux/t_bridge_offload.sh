# Two guests behind one bridge: TAPs are made, enslaved and removed; TCP with offloads arrives
# unharmed in both directions between guest and guest, and the host reaches a guest over the bridge.
. "$TOP/tests/linux/lib.sh"

before=$(interfaces)
ini <<END
[net lan0]
uplink = bridge:xvtest0
$(vm alpha 'role=sender mib=16 ip=10.79.0.1/24 peer=10.79.0.2')
[nic alpha.eth0]
net = lan0
$(vm beta 'role=receiver ip=10.79.0.2/24 peer=10.79.0.1')
[nic beta.eth0]
net = lan0
END
xvmm_start
await alpha up_s
ports=$(ls /sys/class/net/xvtest0/brif | wc -l)
[ "$ports" = 2 ] || fail "the bridge has $ports ports instead of 2"
xvmm_wait 120
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
expect alpha peer_says ok
expect beta verdict ok
expect beta received_bytes 16777216
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
