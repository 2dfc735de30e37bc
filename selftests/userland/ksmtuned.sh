#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 500
#
# Debian's ksmtuned and a cgroup with memory.ksm 1: ksmtuned writes 0 or 1 to
# run, which is for processes that asked, and the cgroup is merged all the same.
# A 2 in run is for all.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

drop=/run/systemd/system/ksmtuned.service.d

cleanup() {
	systemctl -q stop ksmtuned.service ksm.service
	rm -r "$drop"
	systemctl daemon-reload
	echo 1 >"$cg/ksmt/cgroup.kill"
	kill "${pids[@]}"
	wait
	rmdir "$cg/ksmt"
	ksm_reset
} 2>/dev/null

inside() {
	begin bash -c "echo \$\$ >$cg/ksmt/cgroup.procs && exec \"\$@\"" bash "${hold[@]}"
}

nl='
'
asks=("${hold[@]:0:2}" "${hold[2]/for page/memory.madvise(mmap.MADV_MERGEABLE)${nl}for page}")

# takes KILOBYTES: hold that much memory, which takes no part
takes() {
	begin python3 -c '
import signal, sys
memory = b"x" * (int(sys.argv[1]) << 10)
open("/proc/self/comm", "w").write("ksm-hold")
signal.pause()' "$1"
}

run_is() {
	[ "$(cat "$ksm/run")" = "$1" ]
}

# SIGUSR1 makes ksmtuned tune now; it is lost if ksmtuned is tuning already.
tune() {
	kill -USR1 "$(cat /run/ksmtune.pid)" && run_is "$1"
}

tunes_to() {
	wait_for tune "$1" || is "$(cat "$ksm/run")" "$1"
}

# memory FIELDS: their sum in kilobytes, as ksmtuned computes it
memory() {
	awk "/^($1):/"' { sum += $2 } END { print sum }' /proc/meminfo
}

need_ksm
command -v ksmtuned >/dev/null || skip_all "no ksmtuned"
plan 19
trap cleanup EXIT
pids=()
ksm_reset
ksm_fast
echo +memory >$cg/cgroup.subtree_control
mkdir $cg/ksmt
echo 1 >$cg/ksmt/memory.ksm
inside
begin "${asks[@]}"
first=$begun

# Memory is short when half of what is free now is no longer there.
free=$(memory 'MemFree|Buffers|Cached')
mkdir -p "$drop"
cat >"$drop/ksmt.conf" <<-CONF
	[Service]
	Environment=KSM_MONITOR_INTERVAL=3600
	Environment=KSM_THRES_COEF=$((free * 50 / $(memory MemTotal)))
CONF
systemctl daemon-reload

check "it starts" systemctl -q start ksmtuned.service
waiting() {
	pgrep -P "$(cat /run/ksmtune.pid)" -x sleep >/dev/null
}
wait_for waiting
check "started: run is 1" is "$(cat $ksm/run)" 1
inside
check "started: the cgroup is merged" wait_for all_merged "$begun"
begin "${asks[@]}"
second=$begun
check "started: what asked is merged" wait_for all_merged "$first"
check "started: all of it" wait_for all_merged "$second"

check "plenty: run is 0" tunes_to 0
inside
check "plenty: the cgroup is merged" wait_for all_merged "$begun"
begin "${asks[@]}"
third=$begun
settle
check "plenty: what asks now is not merged" is "$(merged "$third")" 0
check "plenty: what was merged stays so" all_merged "$first"
check "plenty: memory.ksm.scan works" bash -c "echo max >$cg/ksmt/memory.ksm.scan"
check "plenty: run is still 0" run_is 0

takes $((free * 5 / 8))
hog=$begun
check "short: run is 1" tunes_to 1
check "short: it sets the pace" between "$(cat $ksm/pages_to_scan)" 64 1250
inside
check "short: the cgroup is merged" wait_for all_merged "$begun"
check "short: what asked is merged" wait_for all_merged "$third"
kill "$hog"
wait "$hog"

systemctl -q stop ksmtuned.service ksm.service
check "stopped: run is 0" is "$(cat $ksm/run)" 0
inside
check "stopped: the cgroup is merged" wait_for all_merged "$begun"

echo 2 >$ksm/run
settled() {
	is "$(cat "$ksm/pages_shared") $(merged "$begun")" "0 0"
}
check "run=2: nothing is merged" settled
echo 0 >$ksm/run
check "run=0: the cgroup is merged again" wait_for all_merged "$begun"
finish
