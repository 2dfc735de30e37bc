#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: deps.sh PACKAGE...
#
# One apt-get for all that is missing; nothing when all is there. The output of
# apt-get goes to build/log/apt.log.
log=build/log/apt.log
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

missing=()
for package; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
		missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install() {
	$sudo apt-get -qq update &&
		DEBIAN_FRONTEND=noninteractive $sudo \
			apt-get -y --no-install-recommends install "${missing[@]}"
}

echo "==> installing ${missing[*]}" >&2
mkdir -p "${log%/*}"
if ! install </dev/null >$log 2>&1; then
	echo "deps: could not install ${missing[*]} (see $log): run as root or with sudo," \
		"on Debian 12 or 13" >&2
	exit 1
fi
