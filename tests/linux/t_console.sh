# One guest interactive on a terminal: its shell takes what is typed, Ctrl-C ends the guest's command
# and not xvmm, and afterwards the terminal is as it was.
. "$TOP/tests/linux/lib.sh"

command -v script >/dev/null || { echo "no script command (bsdutils)" && exit 77; }
ini <<END
[vm alpha]
kernel = $K
initrd = $I
cmdline = $CMDLINE name=alpha
memory = 192M
cpus = 2
console = stdio
END
# What the terminal shows goes where fail() looks for it.
mkfifo "$T/keys"
exec 4<>"$T/keys"
cat >"$T/session" <<'END'
stty -g >"$T/before"
"$XVMM" run "$T/vm.ini" 2>"$T/xvmm.log"
echo $? >"$T/status"
stty -g >"$T/after"
END
script -qefc "bash '$T/session'" /dev/null <&4 >"$T/alpha.con" 2>&1 &
XPID=$!
type_in() { printf '%s\r' "$1" >&4; }

# cttyhack's shell prompts for the first command.
for _ in $(seq 300); do
	! tr -d '\r' <"$T/alpha.con" | grep -qE '^[^|]*# ' || break
	kill -0 $XPID 2>/dev/null || fail "xvmm ended before there was a prompt"
	sleep 0.2
done
# What is typed is echoed, so the answer must not be in the question.
type_in 'echo RESULT "sum=$((40 + 2))" cpus=$(nproc)'
await alpha sum
expect alpha sum '42 cpus=2'
type_in 'echo RESULT "sleeps"=1; sleep 1000'
await alpha sleeps
sleep 0.5
printf '\003' >&4
type_in 'echo RESULT "goes_on"=$?'
await alpha goes_on
type_in 'poweroff -f'
xvmm_wait 30
[ "$(cat "$T/status")" = 0 ] || fail "xvmm ended with status $(cat "$T/status")"
cmp -s "$T/before" "$T/after" || fail "the terminal's settings are not restored"
logged 'alpha: powered off'
