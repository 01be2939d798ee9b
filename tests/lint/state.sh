#!/bin/bash
# No writable file-scope variable: with several guests in one process, whatever is not in a guest's,
# a net's or the lab's own structure is shared by mistake. Looks at the objects of the last build,
# so that function-scope statics and variables of macros are found as well.
#
# Exceptions are in state.allow: "OBJECT SYMBOL" and the reason behind a #.
set -eu
cd "$(dirname "$0")/../.."
build=${XVMM_BUILD:-build}
[ -e "$build/libxvmm.a" ] || {
	echo "nothing is built in $build"
	exit 77
}
bad=0
for o in $(find "$build"/{base,virtio,vmm,xtalk,arch} "$build"/main.o -name '*.o' 2>/dev/null); do
	src=${o#"$build"/}
	[ -e "${src%.o}.c" ] || [ -e "${src%.o}.S" ] || continue # left over from a file that has gone
	while read -r symbol section; do
		case $symbol in \$*) continue ;; esac # arm64 marks data among code like this
		name=${symbol%%.*} # a static of a function is called NAME.NUMBER
		if ! sed 's/#.*//' tests/lint/state.allow | grep -qxE "${src}[[:space:]]+${name}[[:space:]]*"; then
			echo "$src: $symbol is writable ($section)"
			bad=1
		fi
	done < <(nm -f sysv --defined-only "$o" | awk -F'|' '
		{ gsub(/ /, "") }
		$7 ~ /^\.(data|bss|tdata|tbss)/ && $7 !~ /^\.data\.rel\.ro/ && $4 != "SECTION" { print $1, $7 }
		$7 ~ /COM/ { print $1, $7 }')
done
exit $bad
