#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 600
#
# The commands of Documentation/admin-guide/mm/ksm-cgroup-vm.rst, run as they
# stand there: each block succeeds, the guests are merged, the value outlives
# them, and the unit sets it again when the slice is made anew.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
page=$(find_page ksm-cgroup-vm.rst)
PATH=$here:$PATH
slice=$cg/machine.slice
work=$(mktemp -d)

cleanup() {
	systemctl -q stop guest1.service guest2.service
	systemctl -q disable --now ksm-machine.service
	rm -f /etc/systemd/system/ksm-machine.service
	systemctl -q stop machine-tenant1.slice machine-tenant2.slice machine.slice
	systemctl daemon-reload
	rm -rf "$work"
	ksm_reset
} 2>/dev/null

block() {
	bash -e "$1"
}

# freed CGROUP: pages that are merged, or zeroes
freed() {
	echo $(($(stat_of "$1" ksm_merging_pages) + $(stat_of "$1" ksm_zero_pages)))
}

value_is() {
	is "$(cat "$slice/memory.ksm")" "$1"
}

need_ksm
command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64"
command -v ksm-cgroup >/dev/null || skip_all "ksm-cgroup was not built"
[ -n "$page" ] || skip_all "the page is not here"
blocks "$page" "$work"
files=("$work"/block*)
plan $((${#files[@]} + 9))
trap cleanup EXIT
ksm_reset
ksm_fast
echo 0 >$ksm/use_zero_pages

check "the page has commands" between ${#files[@]} 6 100
for file in "${files[@]}"; do
	check "${file##*/}: $(sed -n '2{s/#/./g;s/^\t//;p}' "$file")" block "$file"
	case $(<"$file") in
	*"enable --now"*)
		check "the unit sets the value" value_is madvise ;;
	*"'merging"*)
		check "the guests are merged" between "$(freed "$slice")" 60000 100000
		check "doctor finds nothing in the way" ksm-cgroup doctor machine.slice ;;
	*"echo 0"*)
		check "one of them is unshared" is "$(freed "$slice/guest2.service")" 0
		check "the other is not" between "$(freed "$slice/guest1.service")" 30000 50000 ;;
	*"systemctl stop"*)
		check "the value outlives the guests" value_is madvise ;;
	esac
done
systemctl -q stop machine.slice
made_anew() {
	systemctl start ksm-machine.service && value_is madvise
}
check "the unit makes the slice anew" made_anew
tenants() {
	systemctl start machine-tenant1.slice && is "$(cat "$slice/machine-tenant1.slice/memory.ksm.effective")" madvise
}
check "the slice of a tenant follows it" tenants
finish
