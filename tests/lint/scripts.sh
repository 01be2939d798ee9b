#!/bin/bash
# Every script parses; with shellcheck at hand, it has no errors either.
set -eu
cd "$(dirname "$0")/../.."
bad=0
for f in $(grep -rlE '^#!/bin/(ba)?sh' scripts tests guests .ci 2>/dev/null | grep -v '^guests/images/'); do
	bash -n "$f" || bad=1
	if command -v shellcheck >/dev/null; then
		shellcheck -S error "$f" || bad=1
	fi
done
exit $bad
