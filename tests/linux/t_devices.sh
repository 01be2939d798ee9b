# One guest with two CPUs and every kind of device: all found by a stock kernel by itself.
. "$TOP/tests/linux/lib.sh"

truncate -s 8M "$T/rw.img"
head -c 1M /dev/urandom >"$T/ro.img"
sum=$(sha256sum <"$T/ro.img" | cut -d ' ' -f 1)
ini <<END
$(vm alpha 'role=devices' 'cpus = 2' 'rng = yes' "virtio-console = file:$T/hvc")
[net lan0]
uplink = none
[nic alpha.eth0]
net = lan0
mac = 52:54:00:12:34:56
[disk alpha.data]
path = rw.img
id = serial-1
[disk alpha.fixed]
path = ro.img
readonly = yes
END
xvmm_run 60
expect alpha cpus 2
expect alpha online 0-1
expect alpha mac 52:54:00:12:34:56
expect alpha carrier 1
expect alpha vda_serial serial-1
expect alpha vda_bytes 8388608
expect alpha vda_ro 0
expect alpha vda_write 0
expect alpha vdb_ro 1
expect alpha vdb_sha256 "$sum"
expect alpha vdb_write_refused 1
expect alpha rng virtio_rng.0
expect alpha rng_bytes 64
expect alpha clocksource "$CLOCKSOURCE"
expect alpha power_buttons 1
expect alpha role_status 0
[ "$(head -c 15 "$T/rw.img")" = "written-by-vda
" ] || [ "$(head -c 14 "$T/rw.img")" = written-by-vda ] || fail "the disk holds not what the guest wrote"
grep -q hello-from-hvc0 "$T/hvc" || fail "nothing came out of the virtio console"
logged 'alpha: powered off'
