#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: merged.sh PROGRAM [ARGUMENT]...
#
# In the VM: run a program in a cgroup whose memory is merged, with the scanner
# at full speed. Its exit status is the program's, or 98 where the scanner did
# not scan a page of it: such a run says nothing of merging. On the stock kernel,
# for comparison, the program runs in a cgroup and nothing is merged.
cg=/sys/fs/cgroup
judged=$cg/judged
ksm=/sys/kernel/mm/ksm

old_sleep=$(<"$ksm/sleep_millisecs")
old_zero=$(<"$ksm/use_zero_pages")
echo +memory >$cg/cgroup.subtree_control && mkdir "$judged" || exit 99

# shellcheck disable=SC2317
leave() {
	echo 1 >"$judged/cgroup.kill"
	echo "$old_sleep" >"$ksm/sleep_millisecs"
	echo "$old_zero" >"$ksm/use_zero_pages"
	until rmdir "$judged" 2>/dev/null; do
		sleep 0.1
	done
}
trap leave EXIT

stat_of() {
	sed -n "s/^$1 //p" "$judged/memory.ksm.stat"
}

# The zero page is not in Rss, which some tests look at; other tests of the same
# boot leave it in use.
echo 0 >"$ksm/use_zero_pages" || exit 99
if [ -e $cg/memory.ksm ]; then
	echo 0 >"$ksm/sleep_millisecs" && echo 1 >"$judged/memory.ksm" || exit 99
	# some programs test what they lock, which a 1 leaves alone
	echo +locked >"$judged/memory.ksm.types" || exit 99
fi
(
	echo "$BASHPID" >"$judged/cgroup.procs" && exec "$@"
)
status=$?
if [ -e $cg/memory.ksm ]; then
	scanned=$(stat_of pages_scanned)
	echo "# $scanned pages scanned in $(stat_of full_scans) full scans," \
		"$(stat_of scan_usec) us, $(stat_of pages_merged) merged"
	[ "$scanned" -gt 0 ] || status=98
fi
exit $status
