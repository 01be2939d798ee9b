# Mistakes in a vm.ini: one line each, status 2, nothing started. tests/unit has the full list.

bad_config() { # REGEX…
	xvmm_run
	want_rc 2
	want err "$@"
	[ ! -e a.log ] || die "a guest was started"
	"$XVMM" check vm.ini >check.out 2>check.err
	[ $? -eq 2 ] || die "check does not say so too"
	cmp -s err check.err || die "run and check differ"
}

case_config_unknown_key() {
	vm a hello "" "memroy = 16M"
	bad_config '^vm\.ini:6: \[vm a\]: .*memroy'
}

case_config_all_mistakes_at_once() {
	vm a hello "" "cpus = many" "transport = pigeon"
	ini "[nic a.eth0]" "net = nowhere"
	bad_config '^vm\.ini:6: \[vm a\]:' '^vm\.ini:7: \[vm a\]:' '^vm\.ini:[89]: \[nic a\.eth0\]:'
}

case_config_missing_kernel() {
	ini "[vm a]" "kernel = nowhere.elf" "memory = 16M" "console = file:a.log"
	bad_config '^vm\.ini:2: \[vm a\]: .*nowhere\.elf'
}

case_config_duplicate_mac() {
	vm a hello ""
	net lan
	nic a.eth0 lan "$(mac 1)"
	nic a.eth1 lan "$(mac 1)"
	bad_config '^vm\.ini:[0-9]+: \[nic a\.eth1\]:'
}

case_config_missing_file() {
	"$XVMM" run nowhere.ini >out 2>err
	rc=$?
	want_rc 2
	want err 'nowhere\.ini'
}

case_config_good() {
	vm a hello ""
	"$XVMM" check vm.ini >out 2>err || die "check refuses a good one"
	[ ! -e a.log ] || die "check starts guests"
}

refused_kernel() { # what is wrong with the kernel shows when the guest is built
	xvmm_run
	[ "$rc" -eq 1 ] || [ "$rc" -eq 2 ] || die "status $rc"
	want err "$@"
	want_not a.log .
}

kernel_file() { ini "[vm a]" "kernel = $1" "memory = ${2:-16M}" "console = file:a.log"; }

case_kernel_no_kernel() {
	echo "this is no kernel at all" >k
	kernel_file k
	refused_kernel 'k: '
}

case_kernel_truncated() {
	need_arch x86_64 # an arm64 Image does not say how long it is
	head -c 5000 "$(kernel hello)" >k
	kernel_file k
	refused_kernel 'trunc'
}

case_kernel_too_big() {
	cp "$(kernel hello)" k
	truncate -s 40M initrd
	kernel_file k 16M
	ini "initrd = initrd"
	refused_kernel 'big|fit|memory'
}
