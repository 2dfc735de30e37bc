#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 300
#
# libcgroup's tools: cgset -r memory.ksm=1 merges what runs in the group and
# what cgexec starts in it; cgget reads it back; a bad value is refused.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

cleanup() {
	echo 1 >"$cg/ksmt/cgroup.kill"
	wait
	cgdelete -g memory:ksmt 2>/dev/null
	ksm_reset
} 2>/dev/null

need_ksm
command -v cgset >/dev/null || skip_all "no cgroup-tools"
plan 7
trap cleanup EXIT
ksm_fast
echo +memory >$cg/cgroup.subtree_control

check "cgcreate" cgcreate -g memory:ksmt
cgexec -g memory:ksmt "${hold[@]}" &
first=$!
wait_for holds $first
check "cgset -r memory.ksm=1" cgset -r memory.ksm=1 ksmt
check "cgget reads it back" is "$(cgget -nv -r memory.ksm ksmt)" 1
cgexec -g memory:ksmt "${hold[@]}" &
second=$!
wait_for holds $second
# the group has a value, so it is scanned whatever run says
echo 0 >$ksm/run
settle
check "a process that ran before is merged" becomes_merged "$first"
check "a process that was started after is merged" becomes_merged "$second"
bad() {
	! cgset -r memory.ksm=perhaps ksmt && is "$(cat "$cg/ksmt/memory.ksm")" 1
}
check "a bad value is refused and changes nothing" bad
cgset -r memory.ksm=0 ksmt
check "cgset -r memory.ksm=0 unshares it all" is "$(merged $first) $(merged $second)" "0 0"
finish
