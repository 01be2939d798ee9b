# Stock Linux with its own e1000 driver, and a guest with virtio-net: ping and TCP with offloads in both
# directions, over TAPs behind a bridge and, where the binding swaps, directly.
. "$TOP/tests/linux/lib.sh"

GENERIC_K=$TOP/guests/images/vmlinuz-generic
GENERIC_I=$TOP/guests/images/initrd-generic.cpio.gz
if [ ! -e "$GENERIC_K" ] || [ ! -e "$GENERIC_I" ]; then
	echo "no kernel with e1000: guests/linux/build generic"
	exit 77
fi
before=$(interfaces)

# lab CROSSTALK ROLE_OF_E1000 ROLE_OF_VIRTIO
lab() {
	local e1000 virtio
	e1000=$(K=$GENERIC_K I=$GENERIC_I vm intel \
		"role=$2 mib=8 ip=10.77.0.1/24 peer=10.77.0.2 driver=1")
	virtio=$(vm virtio "role=$3 mib=8 ip=10.77.0.2/24 peer=10.77.0.1")
	ini <<END
[net lan0]
uplink = bridge:xvtest0
crosstalk = $1
$e1000
[nic intel.eth0]
net = lan0
mac = 52:54:00:0e:10:00
model = e1000
$virtio
[nic virtio.eth0]
net = lan0
END
	xvmm_run 150
	expect intel nic_driver e1000
	expect intel nic_mac 52:54:00:0e:10:00
	expect intel ping_got 10
	expect virtio ping_got 10
	[ "$before" = "$(interfaces)" ] || fail "interfaces are left over: $(interfaces | tr '\n' ' ')"
}

lab off sender receiver
expect intel peer_says ok
expect virtio received_bytes 8388608
echo "e1000 to virtio over TAPs: $(result intel send_cs) cs"

lab dynamic receiver sender
expect virtio peer_says ok
expect intel received_bytes 8388608
echo "virtio to e1000, dynamic: $(result virtio send_cs) cs"
logged 'eth0: uplink to direct'
