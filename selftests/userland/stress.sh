#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 600
#
# stress-ng in cgroups with a 1, with the scanner at full speed: its
# verification of memory, its fork and its mmap stressors. Bounded by operations.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

cleanup() {
	for group in "$cg"/ksmt*; do
		echo 1 >"$group/cgroup.kill"
		wait_for rmdir "$group"
	done
	ksm_reset
} 2>/dev/null

# stress GROUP ARGUMENT...: stress-ng's verdict
stress() {
	local group=$cg/ksmt-$1
	shift
	mkdir "$group" && echo 1 >"$group/memory.ksm" || return
	bash -c "echo \$\$ >$group/cgroup.procs && exec \"\$@\"" bash \
		stress-ng --temp-path /tmp --oom-avoid --metrics-brief --timeout 120 "$@"
}

# was_merged GROUP: or it would test nothing
was_merged() {
	between "$(stat_of "$cg/ksmt-$1" pages_merged)" 1 1000000000
}

# left GROUP: no process is left in its books, nor was one killed
left() {
	local key
	for key in ksm_merging_pages pages_shared ksm_zero_pages pages_foreign pages_pending \
		processes; do
		stat_becomes "$cg/ksmt-$1" "$key" 0 || { echo "$key"; return 1; }
	done
	is "$(awk '$1 == "oom_kill" { print $2 }' "$cg/ksmt-$1/memory.events")" 0
}

need_ksm
command -v stress-ng >/dev/null || skip_all "no stress-ng"
plan 12
trap cleanup EXIT
ksm_fast
echo +memory >$cg/cgroup.subtree_control
echo 1 >$ksm/use_zero_pages
echo 1 >$ksm/run

check "vm, verified" stress vm --vm 2 --vm-bytes 32M --vm-madvise mergeable --vm-ops 40 --verify
check "vm was merged" was_merged vm
check "fork" stress fork --fork 4 --fork-ops 400
check "mmap, verified" stress mmap --mmap 2 --mmap-bytes 16M --mmap-ops 20 --verify
check "mmap was merged" was_merged mmap
check "vm without asking, verified" stress plain --vm 2 --vm-bytes 32M --vm-keep \
	--vm-method zero-one --vm-ops 40 --verify
check "vm without asking was merged" was_merged plain
check "copy on write by children" stress cow --forkheavy 1 --forkheavy-procs 64 \
	--forkheavy-allocs 256 --forkheavy-ops 200
for group in vm fork mmap plain; do
	check "nothing is left of $group" left $group
done
echo 0 >$ksm/use_zero_pages
finish
