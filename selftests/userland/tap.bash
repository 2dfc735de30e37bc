# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the tests beside this file: TAP, the scanner's knobs, and a program that
# fills memory and holds still. Sourced, not run.

cg=/sys/fs/cgroup
ksm=/sys/kernel/mm/ksm
bound=${KSM_BOUND:-120}		# seconds until a wait counts as a hang
tap_number=0
tap_failed=0
tap_planned=0

plan() {
	tap_planned=$1
	echo "TAP version 13"
	echo "1..$1"
}

# check NAME COMMAND...: one line of TAP, by the command's exit status
check() {
	local name=$1 said
	shift
	tap_number=$((tap_number + 1))
	if said=$("$@" 2>&1); then
		echo "ok $tap_number $name"
	else
		tap_failed=$((tap_failed + 1))
		[ -z "$said" ] || while read -r line; do echo "# $line"; done <<<"$said"
		echo "not ok $tap_number $name"
	fi
}

# skip_rest REASON: skip what is still planned
skip_rest() {
	while [ "$tap_number" -lt "$tap_planned" ]; do
		tap_number=$((tap_number + 1))
		echo "ok $tap_number # SKIP $*"
	done
	exit "$((tap_failed ? 1 : 0))"
}

# skip_all REASON: before the plan
skip_all() {
	echo "TAP version 13"
	echo "1..0 # SKIP $*"
	exit 4
}

# The last line of a test; fewer or more results than planned are a failure.
finish() {
	[ "$tap_number" = "$tap_planned" ] || tap_failed=1
	exit "$((tap_failed ? 1 : 0))"
}

# wait_for COMMAND...: until it succeeds; fails after $bound seconds
wait_for() {
	local end=$((SECONDS + bound))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# need_ksm: skip without the kernel's files. A kernel that has ksm_policy and no
# memory.ksm is wrong, not older.
need_ksm() {
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	[ -e $ksm/run ] || skip_all "this kernel has no KSM"
	[ -e $cg/memory.ksm ] && return
	if [ -z "${KSM_CGROUP_REQUIRED-}" ] && ! grep -q ksm_policy /proc/self/ksm_stat; then
		skip_all "this kernel has no memory.ksm"
	fi
	plan 1
	check "memory.ksm is there" false
	finish
}

ksm_fast() {
	echo none >$ksm/advisor_mode
	echo 0 >$ksm/sleep_millisecs
	echo 20000 >$ksm/pages_to_scan
}

# The state after boot, and nothing merged.
ksm_reset() {
	echo 2 >$ksm/run
	[ ! -e $ksm/run_cgroups ] || echo 1 >$ksm/run_cgroups
	echo 0 >$ksm/run
	echo 20 >$ksm/sleep_millisecs
	echo 100 >$ksm/pages_to_scan
}

scans_beyond() {
	[ "$(cat $ksm/full_scans)" -ge "$1" ]
}

# settle: until all is merged that can be
settle() {
	local start
	start=$(cat $ksm/full_scans)
	wait_for scans_beyond $((start + 3)) || echo "# full_scans stalls at $start"
}

# stat_of CGROUP KEY
stat_of() {
	awk -v key="$2" '$1 == key { print $2 }' "$1/memory.ksm.stat"
}

# stat_becomes CGROUP KEY VALUE
stat_becomes() {
	wait_for stat_is "$@" || is "$(stat_of "$1" "$2")" "$3"
}

stat_is() {
	[ "$(stat_of "$1" "$2")" = "$3" ]
}

# stat_reaches CGROUP KEY VALUE
stat_reaches() {
	wait_for stat_has "$@" || between "$(stat_of "$1" "$2")" "$3" 1000000
}

stat_has() {
	[ "$(stat_of "$1" "$2")" -ge "$3" ]
}

# pid_stat PID KEY: of /proc/PID/ksm_stat, with colon or without
pid_stat() {
	awk -v key="$2" '{ sub(/:$/, "", $1) } $1 == key { print $2 }' "/proc/$1/ksm_stat"
}

# between VALUE LOW HIGH
between() {
	[ "$1" -ge "$2" ] && [ "$1" -le "$3" ] && return
	echo "$1 is not from $2 to $3"
	return 1
}

# is VALUE WANT
is() {
	[ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }
}

# find_page NAME: a page of the admin guide, in the source tree or beside the tests
find_page() {
	local here dir
	here=$(cd "$(dirname "$0")" && pwd)
	for dir in "$here/../../Documentation/admin-guide/mm" \
		"$here/../../../../../Documentation/admin-guide/mm" "$here"; do
		[ ! -e "$dir/$1" ] || { echo "$dir/$1"; return; }
	done
}

# blocks PAGE FOLDER [SECTION]: its literal blocks, or those of one section, each
# in a file of its own. What commands print is in blocks of another kind there.
blocks() {
	(cd "$2" && awk -v section="${3-}" '
		/^=+$/ { here = section == "" || last == section }
		{ last = $0 }
		here && /::$/ { file = sprintf("block%02d", ++number); next }
		file && /^(\t.*)?$/ { print >file; next }
		{ file = "" }' "$1")
}

# Fills 16 MiB with the same bytes in every process, then touches nothing. Page
# by page: a larger buffer, freed, would stay in the heap and be merged as well.
# shellcheck disable=SC2034
{
hold_pages=4096
hold=(python3 -c '
import mmap, random, signal
size = 16 << 20
random.seed(7)
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(size >> 12):
    memory.write(random.randbytes(4096))
open("/proc/self/comm", "w").write("ksm-hold")
signal.pause()')
}

holds() {
	[ "$(cat "/proc/$1/comm" 2>/dev/null)" = ksm-hold ]
}

# begin COMMAND...: in the background, its process id in $begun and pids
begin() {
	"$@" &
	begun=$!
	pids+=("$begun")
	wait_for holds "$begun"
}

# merged PID: pages of the process on merged frames
merged() {
	cat "/proc/$1/ksm_merging_pages"
}

# all_merged PID [PAGES]: as many, or what the program fills
all_merged() {
	[ "$(merged "$1")" -ge "${2-$hold_pages}" ]
}

# becomes_merged PID [PAGES]
becomes_merged() {
	wait_for all_merged "$@" || between "$(merged "$1")" "${2-$hold_pages}" 1000000
}
