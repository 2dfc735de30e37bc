#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The end of the line inside the VM: takes the numbers of commands from the
# virtio port "ctl", runs each with its output on the ports "out" and "err",
# and answers with its exit status. The other end is vm/machine.py.
ports=/dev/virtio-ports

share() { # tag, directory, mount options
	local file
	for file in /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag; do
		[ "$(tr -d '\0' <"$file")" = "$1" ] || continue
		mkdir -p "$2"
		mount -t 9p -o "$3,trans=virtio,version=9p2000.L,msize=512000" "$1" "$2"
	done
}

for ((i = 0; i < 100; i++)); do
	[ -e $ports/ctl ] && [ -e $ports/out ] && [ -e $ports/err ] && break
	sleep 0.1
done
share share /mnt/share ro,cache=loose
share out /mnt/out rw,cache=none
export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root || exit 1

# A port can be opened only once: pipes in between let a command reopen its
# own /dev/stdout, and keep what it leaves running in the background off them.
exec 3> >(exec cat >$ports/out) 4> >(exec cat >$ports/err) 5<>$ports/ctl
echo ready >&5
while read -r number limit token <&5; do
	echo "vm: begin $number" >/dev/kmsg
	timeout --kill-after=10 "$limit" \
		bash "/run/agent/command.$number" </dev/null >&3 2>&4 3>&- 4>&- 5>&-
	status=$?
	echo "vm: end $number" >/dev/kmsg
	printf '%s' "$token" >&3
	printf '%s' "$token" >&4
	echo "done $number $status" >&5
done
