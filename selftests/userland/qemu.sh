#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 600
#
# Guests of QEMU, emulated, with firmware and no operating system: which of them
# a value of memory.ksm merges. QEMU asks by madvise unless mem-merge is off;
# then it tells the kernel nothing at all, so a 1 merges that guest as well.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
for dir in "$here/.." "$here/../ksm_cgroup" "$here"; do
	[ ! -x "$dir/ksm_launch" ] || launch=$dir/ksm_launch
done
tool=$here/ksm-cgroup
[ -x "$tool" ] || tool=$(command -v ksm-cgroup)
logs=$(mktemp -d)
thp=/sys/kernel/mm/transparent_hugepage/enabled
hugetlb=/proc/sys/vm/nr_hugepages
# A guest's memory, of a size that no other mapping has; the firmware writes a few
# hundred pages of it.
mib=40
most=$(((mib << 8) - 700))

cleanup() {
	[ -z "${old_thp-}" ] || echo "$old_thp" >"$thp"
	for group in "$cg/ksmt" "$cg/ksmt2"; do
		echo 1 >"$group/cgroup.kill"
	done
	kill -KILL "${guests[@]}"
	wait
	echo 0 >"$hugetlb"
	rmdir "$cg/ksmt" "$cg/ksmt2"
	rm -rf "$logs"
	ksm_reset
} 2>/dev/null

declare -A guests

# guest NAME CGROUP MACHINE [LAUNCHER...] [-- OPTION...]: MACHINE is for -machine
guest() {
	local name=$1 group=$2 machine=$3 launcher=()
	shift 3
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		launcher+=("$1")
		shift
	done
	bash -c "echo \$\$ >$cg/$group/cgroup.procs && exec \"\$@\"" bash "${launcher[@]}" \
		qemu-system-x86_64 -accel tcg -machine "pc,$machine" -m $mib -display none -nodefaults \
		-chardev "file,id=log,path=$logs/$name.log" \
		-device isa-debugcon,iobase=0x402,chardev=log "${@:2}" &
	guests[$name]=$!
}

waits_or_died() {
	grep -qs "No bootable device" "$logs/$1.log" || ! kill -0 "${guests[$1]}" 2>/dev/null
}

# Its firmware has done what it can, and waits.
booted() {
	wait_for waits_or_died "$1" && grep -q "No bootable device" "$logs/$1.log"
}

# ram NAME: pages of the guest's memory that are merged; nothing if it has none
ram() {
	awk -v size=$((mib << 10)) '$1 == "Size:" { found = $2 == size }
		found && $1 == "KSM:" { print $2 / 4 }' "/proc/${guests[$1]}/smaps"
}

# freed NAME: those, and pages of zeroes. All memory was touched, so what is not
# resident is the zero page: the split of a huge page puts it in place.
freed() {
	awk -v size=$((mib << 10)) '$1 == "Size:" { found = $2 == size }
		found && $1 == "Rss:" { rss = $2 }
		found && $1 == "KSM:" { print (size - rss + $2) / 4 }' "/proc/${guests[$1]}/smaps"
}

# all NAME...: their memory is merged
all() {
	local name
	for name; do
		between "$(freed "$name")" "$most" $((mib << 8)) || { echo "of $name"; return 1; }
	done
}

# none NAME...: nothing of the process is merged
none() {
	local name
	for name; do
		is "$(merged "${guests[$name]}") $(freed "$name")" "0 0" || { echo "of $name"; return 1; }
	done
}

# The cgroup's books are the sum of its processes'.
in_books() {
	local name sum=0
	for name in "${!guests[@]}"; do
		sum=$((sum + $(merged "${guests[$name]}")))
	done
	is "$(stat_of "$cg/ksmt" ksm_merging_pages)" "$sum"
}

books_agree() {
	wait_for in_books >/dev/null || in_books
}

stopped() {
	kill "-$1" "${guests[@]}"
}

says() {
	local text=$1 out
	shift
	out=$("$@" 2>&1)
	[[ $out == *"$text"* ]] || { echo "$out"; return 1; }
}

lacks() {
	! says "$@" >/dev/null
}

sets() {
	echo "$1" >$cg/ksmt/memory.ksm
}

scans() {
	echo max >"$cg/ksmt/memory.ksm.scan" && echo max >"$cg/ksmt/memory.ksm.scan"
}

need_ksm
command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64"
[ -n "${launch-}" ] || skip_all "ksm_launch was not built"
[ -n "$tool" ] || skip_all "ksm-cgroup was not built"
plan 34
trap cleanup EXIT
bound=$((bound > 240 ? bound : 240))
ksm_reset
ksm_fast
echo 0 >$ksm/use_zero_pages
echo +memory >$cg/cgroup.subtree_control
mkdir $cg/ksmt $cg/ksmt2
sets madvise

# All memory is touched, as by a guest that has run for a while.
guest on ksmt mem-merge=on -- -mem-prealloc
check "mem-merge=on: the firmware runs" booted on
guest off ksmt mem-merge=off -- -mem-prealloc
check "mem-merge=off: the firmware runs" booted off
guest marked ksmt mem-merge=off,dump-guest-core=off -- -mem-prealloc
guest never ksmt mem-merge=off "$launch" --off -- -mem-prealloc
guest asks ksmt mem-merge=on "$launch" --off -- -mem-prealloc
check "the firmware of three others runs" eval 'booted marked && booted never && booted asks'

settle
check "madvise: mem-merge=on is merged" all on
check "madvise: mem-merge=off is not" none off
check "madvise: nor with dump-guest-core=off" none marked
check "madvise: an opt-out does not withdraw what QEMU asks for" all asks
check "madvise: run is 0" is "$(cat $ksm/run)" 0
check "madvise: doctor does not speak of mem-merge" lacks mem-merge "$tool" doctor ksmt

check "1: the write succeeds" sets 1
settle
check "1: mem-merge=on is merged" all on
check "1: mem-merge=off is merged all the same" all off
check "1: with dump-guest-core=off it is not" is "$(freed marked)" 0
check "1: opted out by prctl it is not" none never
check "1: doctor warns of the one" says "1 virtual machine has mem-merge=off" "$tool" doctor ksmt
check "1: doctor says what to do" says "ksm-cgroup madvise /ksmt" "$tool" doctor ksmt
check "1: memory was saved" between "$(stat_of $cg/ksmt pages_saved)" $((2 * most)) 100000
stopped STOP
echo 0 >$ksm/pages_to_scan
check "1: the books are right" books_agree
stopped CONT

# From here on merging is on demand alone, and pages are small.
old_thp=$(sed 's/.*\[\(.*\)\].*/\1/' $thp)
echo never >$thp
check "madvise again: the write succeeds" sets madvise
check "madvise again: mem-merge=off is unshared when it returns" none off
check "madvise again: mem-merge=on stays merged" all on
check "0: the write succeeds" sets 0
check "0: all are unshared when it returns" none "${!guests[@]}"
check "0: the books are empty" is "$(stat_of $cg/ksmt ksm_merging_pages) $(stat_of $cg/ksmt \
	pages_shared) $(stat_of $cg/ksmt pages_pending)" "0 0 0"
check "0: memory.ksm.scan is refused" eval '! scans 2>/dev/null'
sets madvise
check "madvise, on demand: two scans" scans
check "madvise, on demand: mem-merge=on is merged" all on asks
check "madvise, on demand: mem-merge=off is not" none off marked never
sets 1
check "1, on demand: two scans" scans
check "1, on demand: mem-merge=off is merged" all off

# Memory of other kinds, for which QEMU asks as well.
echo 1 >$cg/ksmt/cgroup.kill
wait 2>/dev/null
guests=()
ksm_fast
mib=72
echo $((mib / 2)) >$hugetlb
echo 1 >$cg/ksmt2/memory.ksm
backend="memory-backend-memfd,id=ram,size=${mib}M,prealloc=on"
touched() {
	awk -v key="$2:" -v size=$((mib << 10)) '$1 == key { all = $2 >= size } END { exit !all }' \
		"/proc/${guests[$1]}/status" 2>/dev/null
}
guest shared ksmt2 memory-backend=ram -- -object "$backend"
guest huge ksmt2 memory-backend=ram -- -object "$backend,hugetlb=on"
wait_for touched shared RssShmem
wait_for touched huge HugetlbPages
settle
check "shared memory is not merged" is "$(ram shared)" 0
check "doctor says so" says "72.0M of the memory of 1 virtual machine is shared" "$tool" doctor ksmt2
check "hugetlb is not merged" is "$(ram huge)" 0
check "doctor says so, too" says "72.0M of the memory of 1 virtual machine is hugetlb" "$tool" doctor ksmt2
finish
