# Two guests of one process find out that they talk to each other: pings, 16 MiB with a checked
# SHA-256, both directions swapped to direct while that flows, and an orderly end.
. "$TOP/tests/linux/lib.sh"

MIB=16
before=$(interfaces)
ini <<EOF
[net lan0]
uplink = bridge:xvtest0
$(vm alpha "role=sender mib=$MIB ip=10.78.0.1/24 peer=10.78.0.2")
[nic alpha.eth0]
net = lan0
$(vm beta "role=receiver ip=10.78.0.2/24 peer=10.78.0.1")
[nic beta.eth0]
net = lan0
EOF
xvmm_run 170
for g in alpha beta; do
	expect $g ping_got 10
	expect $g role_status 0
	logged "$g\.eth0: uplink to direct"
	logged "$g: powered off"
done
expect beta verdict ok
expect beta received_bytes $((MIB << 20))
expect beta sha256 "$(result alpha sha256)"
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
