# Talks to guests that run the role agent (guests/linux/roles/agent) with "virtio-console = pty";
# sourced by scripts of bash, with or without set -eu.

declare -A AGENT=() ASKED=()
ANSWER=

# agent_open GUEST XVMM_LOG: once the guest is up; also after it has rebooted. 1: it does not listen.
agent_open() {
	local g=$1 n fd pts
	pts=$(sed -n "s|^.*$g: console: pty \\(/dev/pts/[0-9]*\\)\$|\\1|p" "$2" | tail -n 1)
	[ -c "$pts" ] || return 1
	stty -F "$pts" raw -echo
	exec {fd}<>"$pts"
	if [ -n "${AGENT[$g]:-}" ]; then
		exec {AGENT[$g]}>&- # of its life before
	fi
	AGENT[$g]=$fd
	ASKED[$g]=${ASKED[$g]:-0}
	for ((n = 0; n < 20; n++)); do
		tell "$g" true
		if answer "$g" 1; then return 0; fi
	done
	return 1
}
# tell GUEST COMMAND: begins a command (one line).
tell() {
	ASKED[$1]=$((ASKED[$1] + 1))
	echo "${ASKED[$1]} $2" >&"${AGENT[$1]}"
}
# answer GUEST [SECONDS]: waits for the end of it. What it printed is in ANSWER; its status comes
# back, 124 if there was no answer.
answer() {
	local line begun='' until=$((SECONDS + ${2:-60}))
	ANSWER=
	while [ $SECONDS -le $until ]; do
		# The time may be over in the midst of a line, whose beginning is then in $line.
		if ! IFS= read -r -t 1 line <&"${AGENT[$1]}"; then
			begun+=$line
			continue
		fi
		line=$begun$line begun=''
		case $line in
		"DONE ${ASKED[$1]} "*) return "${line##* }" ;;
		"DONE "*) ANSWER= ;; # of an earlier one
		*) ANSWER+=$line$'\n' ;;
		esac
	done
	return 124
}
# ask GUEST COMMAND [SECONDS]: both.
ask() {
	tell "$1" "$2"
	answer "$1" "${3:-60}"
}
# answered KEY: its value, where the guest has printed KEY=value.
answered() { sed -n "s/^$1=//p" <<<"$ANSWER"; }
# dismiss GUEST…: they power off.
dismiss() {
	local g
	for g in "$@"; do
		echo "0 bye" >&"${AGENT[$g]}"
	done
}
