# The other transport: a stock kernel finds disk, NIC, console and rng behind virtio-mmio (in the ACPI
# tables) by itself, and frames go through a bridge to the host.
. "$TOP/tests/linux/lib.sh"

before=$(interfaces)
truncate -s 8M "$T/rw.img"
ini <<END
[net lan0]
uplink = bridge:xvmmio0
$(vm alpha 'role=pinger ip=10.80.0.1/24 peer=10.80.0.254 linger=0' 'transport = mmio')
[nic alpha.eth0]
net = lan0
$(vm beta 'role=devices' 'transport = mmio' 'cpus = 2' 'rng = yes' "virtio-console = file:$T/hvc")
[nic beta.eth0]
net = lan0
mac = 52:54:00:12:34:57
[disk beta.data]
path = rw.img
id = serial-2
END
xvmm_start
await alpha init_s
ip addr add 10.80.0.254/24 dev xvmmio0 || fail "there is no bridge"
xvmm_wait 90
[ "$RC" = 0 ] || fail "xvmm ended with status $RC"
expect alpha ping_got 10
expect beta online 0-1
expect beta mac 52:54:00:12:34:57
expect beta carrier 1
expect beta vda_serial serial-2
expect beta vda_write 0
expect beta rng virtio_rng.0
expect beta rng_bytes 64
expect beta role_status 0
[ "$(head -c 14 "$T/rw.img")" = written-by-vda ] || fail "the disk holds not what the guest wrote"
grep -q hello-from-hvc0 "$T/hvc" || fail "nothing came out of the virtio console"
[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
