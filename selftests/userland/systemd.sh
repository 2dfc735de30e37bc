#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 300
#
# systemd's MemoryKSM=: a unit with yes is merged without a value of memory.ksm,
# a unit with no stays out of a slice whose memory.ksm is 1, and a unit without
# the setting follows its slice.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

units=(ksmt-yes1 ksmt-yes2 ksmt-plain ksmt-no ksmt-in1 ksmt-in2)

cleanup() {
	systemctl -q stop "${units[@]/%/.service}" ksmt.slice 2>/dev/null
	systemctl -q reset-failed 2>/dev/null
	ksm_reset
}

# start UNIT PROPERTY...: the process has filled its memory when this returns
start() {
	local unit=$1 pid
	shift
	systemd-run -q --unit="$unit" "${@/#/--property=}" "${hold[@]}" || return
	pid=$(pid_of "$unit")
	wait_for holds "$pid"
}

pid_of() {
	systemctl show -P MainPID "$1.service"
}

need_ksm
version=$(systemctl --version | awk 'NR == 1 { print $2 }')
[ "${version%%[!0-9]*}" -ge 256 ] || skip_all "systemd $version has no working MemoryKSM="
plan 11
trap cleanup EXIT
ksm_fast
echo 1 >$ksm/run

check "units with MemoryKSM=yes start" start ksmt-yes1 MemoryKSM=yes
start ksmt-yes2 MemoryKSM=yes
start ksmt-plain
settle
yes=$(pid_of ksmt-yes1)
check "the process takes part" is "$(pid_stat "$yes" ksm_merge_any)" yes
check "its pages are merged" becomes_merged "$yes"
check "the unit's memory.ksm.stat has them" stat_reaches \
	$cg/system.slice/ksmt-yes1.service ksm_merging_pages $hold_pages
check "a unit without the setting is not merged" is "$(merged "$(pid_of ksmt-plain)")" 0

start ksmt-no Slice=ksmt.slice MemoryKSM=no
echo 1 >$cg/ksmt.slice/memory.ksm
start ksmt-in1 Slice=ksmt.slice
start ksmt-in2 Slice=ksmt.slice
settle
check "in a slice with a 1 a unit is merged" \
	becomes_merged "$(pid_of ksmt-in1)"
check "a unit with MemoryKSM=no is not" is "$(merged "$(pid_of ksmt-no)")" 0
check "and its process stays out" is \
	"$(pid_stat "$(pid_of ksmt-no)" ksm_merge_any)" no
check "memory.ksm.stat of the slice counts the others" stat_reaches \
	$cg/ksmt.slice ksm_merging_pages $((2 * hold_pages))

systemctl -q restart ksmt-no.service
wait_for holds "$(pid_of ksmt-no)"
settle
check "after a restart it still is not" is "$(merged "$(pid_of ksmt-no)")" 0

systemctl -q stop "${units[@]/%/.service}"
check "after the units stop, none of their pages is merged" \
	stat_becomes $cg/system.slice ksm_merging_pages 0
finish
