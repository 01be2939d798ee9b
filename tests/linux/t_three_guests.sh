# Three guests on one TAP that they share: one with two CPUs and a disk, one without a NIC. The two
# with a NIC talk to each other, and to the host behind the TAP.
. "$TOP/tests/linux/lib.sh"

truncate -s 4M "$T/disk.img"
before=$(interfaces)
ini <<END
[net lan0]
uplink = tap:xvshared
$(vm alpha 'role=pinger ip=10.78.0.1/24 peer=10.78.0.2 host=10.78.0.254' 'cpus = 2')
[disk alpha.root]
path = disk.img
[nic alpha.eth0]
net = lan0
$(vm beta 'role=pinger ip=10.78.0.2/24 peer=10.78.0.1 host=10.78.0.254')
[nic beta.eth0]
net = lan0
$(vm gamma 'run=true')
END
xvmm_start
for _ in $(seq 100); do
	[ ! -e /sys/class/net/xvshared ] || break
	sleep 0.1
done
ip addr add 10.78.0.254/24 dev xvshared || fail "there is no TAP"
xvmm_wait 90
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
for g in alpha beta; do
	expect $g ping_got 10
	expect $g host_answers 1
done
expect alpha cpus 2
expect gamma run_status 0
for g in alpha beta gamma; do logged "$g: powered off"; done
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
