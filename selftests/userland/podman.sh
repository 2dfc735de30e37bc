#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 400
#
# podman run --cgroup-conf=memory.ksm=1: the value reaches the container's
# cgroup, its server is merged with itself and not with the container beside it,
# and a process that is run in it later takes part too.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

cleanup() {
	podman rm -fa -t 0 >/dev/null 2>&1
	ksm_reset
}

# 8192 values of a size that fills a page each in the server's allocator: eight
# copies of 1024 different ones.
load='for k = 0, 8191 do
  redis.call("SET", "k" .. k, string.rep(string.format("%09d ", k % 1024), 409))
end
return redis.call("DBSIZE")'

# run NAME PORT OPTION...
run() {
	local name=$1 port=$2
	shift 2
	podman run -d --name "$name" "$@" localhost/redis redis-server --port "$port" \
		--save '' --appendonly no --dir /tmp --enable-debug-command yes || return
	wait_for redis-cli -p "$port" ping >/dev/null 2>&1 || return
	is "$(redis-cli -p "$port" EVAL "$load" 0)" 8192
}

cgroup_of() {
	echo "$cg$(sed -n 's/^0:://p' "/proc/$(pid_of "$1")/cgroup")"
}

pid_of() {
	podman inspect -f '{{.State.Pid}}' "$1"
}

need_ksm
command -v podman >/dev/null || skip_all "no podman"
podman image exists localhost/redis || skip_all "no image localhost/redis"
plan 10
trap cleanup EXIT
ksm_fast
echo 1 >$ksm/run

check "a container with the option starts" run ksmt-a 7001 --cgroup-conf=memory.ksm=1
[ "$tap_failed" = 0 ] || skip_rest "the container did not start"
check "so does a second one" run ksmt-b 7002 --cgroup-conf=memory.ksm=1
check "and one without" run ksmt-c 7003
a=$(cgroup_of ksmt-a)
b=$(cgroup_of ksmt-b)
check "the value is in its cgroup" is "$(cat "$a/memory.ksm")" 1
check "a container without the option has the default" is "$(cat "$(cgroup_of ksmt-c)/memory.ksm")" inherit
settle
for box in ksmt-a ksmt-b; do
	wait_for all_merged "$(pid_of $box)" 8000
done
# of 8192 pages 1024 are different; each container needs frames of its own
check "the server is merged" between "$(merged "$(pid_of ksmt-a)")" 8000 30000
check "it is merged with itself, not with its neighbour" between \
	"$(($(stat_of "$a" pages_shared) + $(stat_of "$b" pages_shared)))" 2000 60000
check "a server without the option is not" is "$(merged "$(pid_of ksmt-c)")" 0
before=$(stat_of "$a" processes)
podman exec -d ksmt-a sleep 1000 >/dev/null
check "a process that is run in it later takes part" wait_for bash -c \
	"[ \"\$(awk '\$1 == \"processes\" { print \$2 }' $a/memory.ksm.stat)\" -gt $before ]"
check "its data equals that without the option" is \
	"$(redis-cli -p 7001 DEBUG DIGEST)" "$(redis-cli -p 7003 DEBUG DIGEST)"
finish
