#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 1G
# append: ksmt.fresh=1
# timeout: 300
#
# The state after boot, which is why this test has a machine to itself: run is
# 0, nothing is merged despite MADV_MERGEABLE, and one echo into a container's
# memory.ksm is enough.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

cleanup() {
	echo 1 >"$cg/ksmt/cgroup.kill"
	kill "${pids[@]}"
	wait
	rmdir "$cg/ksmt"
} 2>/dev/null

inside() {
	begin bash -c "echo \$\$ >$cg/ksmt/cgroup.procs && exec \"\$@\"" bash "${hold[@]}"
}

need_ksm
plan 14
trap cleanup EXIT
pids=()

check "run is 0" is "$(cat $ksm/run)" 0
check "run_cgroups is 1" is "$(cat $ksm/run_cgroups)" 1
check "the root's value is madvise" is "$(cat $cg/memory.ksm)" madvise
check "sleep_millisecs is 20" is "$(cat $ksm/sleep_millisecs)" 20
check "pages_to_scan is 100" is "$(cat $ksm/pages_to_scan)" 100
check "max_page_sharing is 256" is "$(cat $ksm/max_page_sharing)" 256
check "merge_across_nodes is 1" is "$(cat $ksm/merge_across_nodes)" 1
check "use_zero_pages is 0" is "$(cat $ksm/use_zero_pages)" 0
check "smart_scan is 1" is "$(cat $ksm/smart_scan)" 1
check "nothing is merged" is "$(cat $ksm/pages_shared) $(cat $ksm/pages_sharing)" "0 0"
check "nothing was scanned" is "$(cat $ksm/pages_scanned)" 0

echo +memory >$cg/cgroup.subtree_control
mkdir $cg/ksmt
inside
one=$begun
inside
begin "${hold[@]}"
out=$begun
echo 1 >$cg/ksmt/memory.ksm
# at the default speed: 5000 pages a second
check "after one echo it is merged" wait_for all_merged "$one"
settle
check "a process outside is not merged" is "$(merged "$out")" 0
echo 0 >$cg/ksmt/memory.ksm
check "after another it is as before" is "$(merged "$one") $(cat $ksm/pages_shared)" "0 0"
finish
