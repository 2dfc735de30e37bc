#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 600
#
# The commands of Documentation/admin-guide/mm/ksm-cgroup-vm.rst, run as they
# stand there: each block succeeds, the guests are merged, the value outlives
# them and the unit, and is set again when a slice is made anew.
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
	for unit in machine machine-tenant1 machine-tenant2; do
		systemctl -q disable --now "ksm-slice@$unit.service"
	done
	rm -f /etc/systemd/system/ksm-slice@.service
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

# value_is VALUE [SLICE]
value_is() {
	is "$(cat "$slice/${2-}/memory.ksm")" "$1"
}

says() {
	local wanted=$1 text
	shift
	text=$("$@" 2>&1)
	[[ $text =~ $wanted ]] || { echo "$text"; return 1; }
}

need_ksm
command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64"
command -v ksm-cgroup >/dev/null || skip_all "ksm-cgroup was not built"
[ -n "$page" ] || skip_all "the page is not here"
blocks "$page" "$work"
files=("$work"/block*)
plan $((${#files[@]} + 15))
trap cleanup EXIT
ksm_reset
ksm_fast
echo 0 >$ksm/use_zero_pages

check "the page has commands" between ${#files[@]} 6 100
for file in "${files[@]}"; do
	check "${file##*/}: $(sed -n '2{s/#/./g;s/^\t//;p}' "$file")" block "$file"
	case $(<"$file") in
	*"enable --now"*tenant*)
		for tenant in machine-tenant1.slice machine-tenant2.slice; do
			check "$tenant has a value" value_is madvise $tenant
		done ;;
	*"enable --now"*)
		check "the unit sets the value" value_is madvise ;;
	*"'merging"*)
		check "the guests are merged" between "$(freed "$slice")" 60000 100000
		check "doctor finds nothing in the way" ksm-cgroup doctor machine.slice ;;
	*"echo 0"*)
		check "one of them is unshared" is "$(freed "$slice/guest2.service")" 0
		check "the other is not" between "$(freed "$slice/guest1.service")" 30000 50000 ;;
	*"echo inherit"*)
		check "it is merged again" is "$(cat "$slice/guest2.service/memory.ksm.effective")" madvise
		systemctl -q stop ksm-slice@machine.service
		check "the unit stops and unshares nothing" \
			between "$(freed "$slice/guest1.service")" 30000 50000
		systemctl -q start ksm-slice@machine.service ;;
	*"systemctl stop"*)
		check "the value outlives the guests" value_is madvise ;;
	esac
done

# A unit in the slice makes it anew, as a guest does, and the value comes along.
made_anew() {
	systemctl -q stop machine.slice
	! [ -e "$slice" ] || return
	systemd-run -q --unit=guest1 --slice="$1" sleep 100
	wait_for value_is madvise "$2" >/dev/null; value_is madvise
}
check "a guest makes the slice anew" made_anew machine.slice .
check "one of a tenant does" made_anew machine-tenant1.slice machine-tenant1.slice
check "at boot the value is there first" says "After=.*ksm-slice@machine.service" \
	systemctl show -p After machines.target
check "nothing is wrong with the unit" systemd-analyze verify ksm-slice@machine.service
finish
