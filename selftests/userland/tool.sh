#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 500
#
# The command ksm-cgroup on a kernel that has the files: it sets them, reads
# them, starts programs, tells what prevents merging, and estimates what merging
# then saves.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

export LC_ALL=C.UTF-8
tool=$(cd "$(dirname "$0")" && pwd)/ksm-cgroup
[ -x "$tool" ] || tool=$(command -v ksm-cgroup)
terminal=(tmux -L ksmt -f /dev/null)

cleanup() {
	"${terminal[@]}" kill-server
	systemctl -q stop ksmt-job.scope ksmt-unit.service
	podman rm -fa -t 0
	for group in "$cg"/ksmt*; do
		echo 1 >"$group/cgroup.kill"
		wait_for rmdir "$group"
	done
	kill "${pids[@]}"
	wait
	rm -rf "$tool" /run/ksmt
	ksm_reset
} >/dev/null 2>&1

# inside GROUP COMMAND...: the same in a cgroup
inside() {
	local group=$cg/$1
	shift
	begin bash -c "echo \$\$ >$group/cgroup.procs && exec \"\$@\"" bash "$@"
}

# column CGROUP COLUMN: of list
column() {
	"$tool" list -rnb -o "$2" "$1" | head -1
}

# said STATUS TEXT COMMAND...: the command's exit status, and part of its output
said() {
	local status=$1 text=$2 got out
	shift 2
	out=$("$@" 2>&1)
	got=$?
	[ "$got" = "$status" ] && [[ $out == *"$text"* ]] && return
	echo "status $got: $out"
	return 1
}

# near VALUE WANTED: within 5%
near() {
	between "$1" $(($2 * 95 / 100)) $(($2 * 105 / 100))
}

shows() {
	"${terminal[@]}" capture-pane -p | grep -qE "$1"
}

scope_of() {
	sed -n 's/^0:://p' "/proc/$1/cgroup"
}

need_ksm
[ -n "$tool" ] || skip_all "ksm-cgroup was not built"
plan 57
# Where another user may execute it, too.
install -m 755 "$tool" /var/tmp/ksmt-tool || skip_rest "no room for a copy"
tool=/var/tmp/ksmt-tool
trap cleanup EXIT
pids=()
ksm_reset
ksm_fast
echo +memory >$cg/cgroup.subtree_control
mkdir $cg/ksmt $cg/ksmt2

check "features: the kernel has memory.ksm" said 0 "" bash -c \
	"$tool features -J | jq -e '.features[] | select(.feature == \"memory.ksm\").there == \"yes\"'"
check "doctor: no process" said 1 "no process is in /ksmt" "$tool" doctor /ksmt
inside ksmt "${hold[@]}"
one=$begun
inside ksmt "${hold[@]}"
two=$begun
check "doctor: run is 0 and there is no value" said 1 "ksm-cgroup on /ksmt" "$tool" doctor "$one"

estimated=$("$tool" estimate -J -b -r max /ksmt | jq '.estimates[0].saves / 4096 | floor')
apart=$("$tool" estimate -J -b -r max "$one" "$two" | jq '.estimates | map(.saves / 4096 | floor) | .[0] + .[1]')
check "estimate: pages that two processes have in common" between "$estimated" $hold_pages $((3 * hold_pages / 2))
check "estimate: none in domains of their own" between "$apart" 0 1500

check "on, by PID" said 0 "" "$tool" on "$one"
check "the value is in the file" is "$(cat $cg/ksmt/memory.ksm)" 1
# The processes are at rest; Python's last writes may take another pass.
steady() {
	saved=$(stat_of "$cg/ksmt" pages_saved)
	settle
	stat_is "$cg/ksmt" pages_saved "$saved"
}
wait_for steady
check "the estimate is what is saved, within 5%" near "$estimated" "$saved"
check "list has the value of the file" is "$(column /ksmt SAVED)" $((saved * 4096))
check "export has it, too" said 0 "ksm_cgroup_saved_bytes{cgroup=\"/ksmt\"} $((saved * 4096))" \
	"$tool" export ksmt
check "profit: what is saved less the cost" is "$("$tool" list -Jb -o SAVED,COST,PROFIT ksmt |
	jq '.cgroups[0] | .saved - .cost == .profit')" true
check "estimate: what is saved already" between \
	"$("$tool" estimate -J -b -r max /ksmt | jq '.estimates[0].merged / 4096 | floor')" \
	$((saved * 95 / 100)) $((saved * 105 / 100))
check "estimate unshared nothing" near \
	"$(stat_of $cg/ksmt pages_saved)" "$saved"
check "estimate: no more to save" between \
	"$("$tool" estimate -J -b -s 4 -r max /ksmt | jq '.estimates[0].saves / 4096 | floor')" 0 600
check "doctor: nothing stands in the way" said 0 "Nothing stands in the way" "$tool" doctor ksmt
check "list: the effective value" is "$(column /ksmt EFFECTIVE)" 1
check "list: the domain" is "$(column /ksmt DOMAIN)" /ksmt
check "list: JSON" is "$("$tool" list -J /ksmt | jq -r '.cgroups[0].ksm')" 1

check "weight" said 0 "" "$tool" weight ksmt 250
check "weight is in the file" is "$(cat $cg/ksmt/memory.ksm.weight)" 250
check "types" said 0 "" "$tool" types ksmt +zero -anon
check "types are in the file" is "$(cat $cg/ksmt/memory.ksm.types)" zero
"$tool" types ksmt inherit
check "domain" said 0 "" "$tool" domain ksmt parent
check "domain is in the file" is "$(cat $cg/ksmt/memory.ksm.domain)" parent
check "domain, a name" said 0 "" "$tool" domain ksmt @shop
check "list: the domain is the name" is "$(column /ksmt DOMAIN) $(column /ksmt JOIN)" "@shop @shop"
check "doctor: nothing else has that name" is \
	"$("$tool" doctor ksmt | grep -c "no cgroup but /ksmt is in domain @shop")" 1
chown user $cg/ksmt/memory.ksm.domain
check "domain, another user's name" said 1 "run this as root on the host" \
	setpriv --reuid user --regid user --clear-groups "$tool" domain ksmt @other
check "domain, another user leaves" said 0 "" \
	setpriv --reuid user --regid user --clear-groups "$tool" domain ksmt self
check "domain is in the file, by another user" is "$(cat $cg/ksmt/memory.ksm.domain)" self
chown root $cg/ksmt/memory.ksm.domain
check "scan reports what it did" said 0 "looked at" "$tool" scan ksmt 8M
check "off unshares" said 0 "" "$tool" off ksmt
check "nothing is merged then" is "$(merged "$one")" 0
check "doctor: it is 0 here" said 1 "memory.ksm of /ksmt is 0" "$tool" doctor ksmt
check "scan: EAGAIN with the reason" said 1 "memory.ksm of /ksmt is 0" "$tool" scan ksmt
check "the root takes no inherit" said 1 "Invalid argument" "$tool" inherit /
check "another user has no permission" said 1 "belongs to whoever made the cgroup" \
	setpriv --reuid user --regid user --clear-groups "$tool" on ksmt
chown user $cg/ksmt2/memory.ksm
check "on, by another user to whom the file belongs: not granted" said 0 "not granted: memory.ksm of /ksmt2 is 1" \
	setpriv --reuid user --regid user --clear-groups "$tool" on ksmt2
check "list: it has no effect" is "$(column /ksmt2 KSM) $(column /ksmt2 EFFECTIVE)" "1 madvise"
check "list: it makes no domain" is "$(column /ksmt2 DOMAIN)" /
check "doctor: not granted" said 1 "as root of the host: ksm-cgroup on /ksmt2" "$tool" doctor ksmt2
"$tool" on ksmt2
check "on, by root: it has" is "$(column /ksmt2 EFFECTIVE) $(column /ksmt2 DOMAIN)" "1 /ksmt2"
"$tool" inherit ksmt2
echo 0 >$ksm/run_cgroups
check "on: it reports that the scanner is stopped" said 0 "run_cgroups is 0" "$tool" on ksmt
echo 1 >$ksm/run_cgroups

"$tool" run --scope /ksmt-made -- "${hold[@]}" &
begun=$!
pids+=("$begun")
wait_for pgrep -P "$begun" >/dev/null
made=$(pgrep -P "$begun")
wait_for holds "$made"
check "run --scope /PATH: its value" is "$(cat $cg/ksmt-made/memory.ksm)" 1
check "run --scope /PATH: the program is in it" is "$(scope_of "$made")" /ksmt-made
kill "$made"
wait "$begun"
check "run --scope /PATH: it goes with the program" said 1 "" test -d $cg/ksmt-made
"$tool" run --scope ksmt-job -- "${hold[@]}" &
pids+=($!)
begun=$!
wait_for holds "$begun"
job=$(scope_of "$begun")
check "run --scope NAME: a scope of systemd with the value" is "$(cat "$cg$job/memory.ksm")" 1
check "run --scope NAME: found as a unit" is "$(column ksmt-job.scope CGROUP)" "$job"

begin "$tool" run -- "${hold[@]}"
check "run: the process takes part" is "$(pid_stat "$begun" ksm_merge_any)" yes
begin "$tool" run --no-merge -- "${hold[@]}"
check "run --no-merge: it stays out" is "$(pid_stat "$begun" ksm_policy)" never
begin "$tool" run --no-merge -- "$tool" run --default -- "${hold[@]}"
check "run --default: it follows the cgroup" is "$(pid_stat "$begun" ksm_policy)" default

check "export: a metric of the cgroup" said 0 'ksm_cgroup_weight{cgroup="/ksmt"} 250' "$tool" export
# node_exporter has what the textfile collector finds, or an error
exported() {
	python3 -c 'import sys, urllib.request as r
sys.stdout.buffer.write(r.urlopen("http://127.0.0.1:9917/metrics").read())' >/run/ksmt/metrics 2>/dev/null
}
mkdir -p /run/ksmt
"$tool" export -o /run/ksmt/ksm.prom
prometheus-node-exporter --collector.disable-defaults --collector.textfile \
	--collector.textfile.directory=/run/ksmt --web.listen-address=127.0.0.1:9917 2>/dev/null &
pids+=($!)
wait_for exported
check "node_exporter passes it on" grep -q '^ksm_cgroup_weight{cgroup="/ksmt"} 250$' /run/ksmt/metrics
check "node_exporter finds no fault in it" grep -q '^node_textfile_scrape_error 0$' /run/ksmt/metrics
named() {
	command -v podman >/dev/null && podman image exists localhost/redis || return 0
	podman run -d --name ksmt-box localhost/redis redis-server --port 7009 --save '' >/dev/null &&
		"$tool" on ksmt-box &&
		is "$(cat "$cg/machine.slice/libpod-$(podman inspect -f '{{.Id}}' ksmt-box).scope/memory.ksm")" 1
}
check "on, by a container's name" named

"${terminal[@]}" new-session -d -x 120 -y 30 "$tool top -d 0.3 -o path; cat"
check "top: the cgroup is on the screen" wait_for shows '/ksmt$'
rmdir $cg/ksmt2
gone() {
	! shows '/ksmt2$'
}
check "top: a removed cgroup goes" wait_for gone
finish
