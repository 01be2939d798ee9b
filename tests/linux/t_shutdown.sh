# SIGTERM presses the power button of every guest; each shuts down by itself and nothing is left over.
. "$TOP/tests/linux/lib.sh"

before=$(interfaces)
ini <<END
[net lan0]
uplink = bridge:xvtest0
$(vm alpha 'run=true stay=1')
[nic alpha.eth0]
net = lan0
$(vm beta 'run=true stay=1')
END
xvmm_start
await alpha run_status
await beta run_status
kill -TERM "$XPID"
xvmm_wait 30
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
for g in alpha beta; do
	expect $g power_button 1
	logged "$g: powered off"
done
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
