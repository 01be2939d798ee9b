# A guest that ignores its power button is killed at the time limit, or at once by a second signal;
# and what a killed xvmm leaves behind is cleared away by the next run.
. "$TOP/tests/linux/lib.sh"

before=$(interfaces)
make_ini() {
	ini <<END
[lab]
shutdown-timeout = $1
[net lan0]
uplink = bridge:xvtest0
$(vm alpha "$2")
[nic alpha.eth0]
net = lan0
END
}
deaf='run="killall acpid" stay=1'

make_ini 3 "$deaf"
xvmm_start
await alpha run_status
kill -TERM "$XPID"
s=$SECONDS
xvmm_wait 20
[ $((SECONDS - s)) -ge 2 ] || fail "killed before the time limit"
[ "$RC" = 4 ] || fail "status $RC instead of 4 after the time limit"
logged 'alpha: killed: did not shut down in time'

make_ini 60 "$deaf"
xvmm_start
await alpha run_status
kill -INT "$XPID"
sleep 0.5
kill -INT "$XPID"
xvmm_wait 10
[ "$RC" = 4 ] || fail "status $RC instead of 4 after the second signal"
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"

xvmm_start
await alpha run_status
kill -KILL "$XPID"
wait "$XPID" 2>/dev/null
make_ini 60 'run=true'
xvmm_run 60
[ "$before" = "$(interfaces)" ] || fail "after kill -9 and another run there are still: $(interfaces | tr '\n' ' ')"
