#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 300
#
# A launcher that calls the prctl and executes: a program that knows nothing of
# merging takes part, or stays out of a cgroup with a 1, and so do its children.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

here=$(cd "$(dirname "$0")" && pwd)
for dir in "$here/.." "$here/../ksm_cgroup" "$here"; do
	[ ! -x "$dir/ksm_launch" ] || launch=$dir/ksm_launch
done

cleanup() {
	echo 1 >"$cg/ksmt/cgroup.kill"
	kill "${pids[@]}"
	wait
	rmdir "$cg/ksmt"
	ksm_reset
} 2>/dev/null

# inside COMMAND...: the same in the cgroup
inside() {
	begin bash -c "echo \$\$ >$cg/ksmt/cgroup.procs && exec \"\$@\"" bash "$@"
}

need_ksm
[ -n "${launch-}" ] || skip_all "ksm_launch was not built"
plan 8
trap cleanup EXIT
pids=()
ksm_fast
echo 1 >$ksm/run
echo +memory >$cg/cgroup.subtree_control
mkdir $cg/ksmt

begin "$launch" "${hold[@]}"
one=$begun
# shellcheck disable=SC2016
begin "$launch" bash -c '"$@" & child=$!; echo ksm-hold >/proc/$$/comm; wait $child' bash "${hold[@]}"
wait_for pgrep -P "$begun" >/dev/null
two=$(pgrep -P "$begun")
pids+=("$two")
wait_for holds "$two"
begin "${hold[@]}"
plain=$begun
settle
check "a launched program takes part" is "$(pid_stat "$one" ksm_merge_any)" yes
check "it is merged" becomes_merged "$one"
check "so is a child of a launched shell" becomes_merged "$two"
check "a process that was not launched is not merged" is "$(merged "$plain")" 0

echo 1 >$cg/ksmt/memory.ksm
inside "$launch" --off "${hold[@]}"
off=$begun
inside "${hold[@]}"
in=$begun
inside "$launch" --off "$launch" --default "${hold[@]}"
again=$begun
settle
check "launched with --off it stays out" is "$(merged "$off") $(pid_stat "$off" ksm_merge_any)" "0 no"
check "beside it the cgroup's value applies" becomes_merged "$in"
check "--default takes --off back" becomes_merged "$again"
refused() {
	python3 -c '
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
call = lambda *a: (libc.prctl(67, *map(ctypes.c_ulong, a)), ctypes.get_errno())
assert call(0, 2, 0, 0) == (-1, 22), "arg3 = 2"
assert call(1, 1, 0, 0) == (-1, 22), "1 with the default"
assert libc.prctl(68, *[ctypes.c_ulong(0)] * 4) == 0, "and something changed"'
}
check "other arguments are EINVAL" refused
finish
