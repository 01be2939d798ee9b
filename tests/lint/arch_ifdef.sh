#!/bin/bash
# What depends on the architecture lies in arch/; nobody else asks which one it is.
set -eu
cd "$(dirname "$0")/../.."
if grep -rnE '\b(__x86_64__|__i386__|__amd64__|__aarch64__|__arm__|__ARM_[A-Z_]+|CONFIG_X86|CONFIG_ARM64)\b' \
	--include='*.[ch]' base virtio vmm xtalk main.c 2>/dev/null; then
	exit 1
fi
