# A guest with memory above the 32-bit hole: all of it is there and works.
. "$TOP/tests/linux/lib.sh"

have=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
if [ "$have" -lt 6400 ]; then
	echo "needs 6400 MiB of available memory, there are $have"
	exit 77
fi
ini <<END
$(vm alpha 'role=memory' 'memory = 6G')
END
xvmm_run 120
mib=$(result alpha mem_mib)
[ "${mib:-0}" -gt 5700 ] || fail "the guest sees $mib MiB of 6144"
expect alpha above_4g 1
expect alpha role_status 0
