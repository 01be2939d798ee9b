#!/bin/bash
# Every C file is as clang-format would write it.
set -eu
cd "$(dirname "$0")/../.."
command -v clang-format >/dev/null || {
	echo "clang-format is missing"
	exit 77
}
find main.c base virtio vmm xtalk arch guests/kernels tests -name '*.[ch]' 2>/dev/null |
	LC_ALL=C sort | xargs clang-format --dry-run -Werror --ferror-limit=3
