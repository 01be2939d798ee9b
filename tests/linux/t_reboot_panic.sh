# A guest that reboots starts again and keeps its console; one that panics ends alone and is named;
# their neighbour never notices.
. "$TOP/tests/linux/lib.sh"

if [ "$(uname -m)" = aarch64 ]; then
	echo "Debian's arm64 kernels have no driver for pvpanic: nobody hears of a panic"
	exit 77
fi

truncate -s 1M "$T/disk.img"
ini <<END
$(vm alpha 'role=reboot_once')
[disk alpha.data]
path = disk.img
$(vm beta 'run="echo c >/proc/sysrq-trigger"')
$(vm gamma 'run="sleep 12"')
END
xvmm_start
xvmm_wait 90
[ "$RC" = 4 ] || fail "status $RC instead of 4, which a crashed guest gives"
expect alpha boot second
logged 'alpha: reset; starting again'
logged 'alpha: powered off'
logged 'beta: kernel panic'
expect gamma run_status 0
logged 'gamma: powered off'
