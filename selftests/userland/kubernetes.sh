#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mem: 2G
# timeout: 600
#
# The section on Kubernetes nodes of Documentation/admin-guide/mm/ksm-cgroup.rst,
# its commands run as they stand there. Pods of both drivers get the name; what a
# tenant has made and called like a pod does not. What goes wrong shows in the
# exit status and in the unit.
# Functions are called by name, through check and trap.
# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=tap.bash
. "$(dirname "$0")/tap.bash"

export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
page=$(find_page ksm-cgroup.rst)
PATH=$here:/usr/local/sbin:$PATH
work=$(mktemp -d)
uid=aaaa1111-22bb-33cc-44dd-5555eeee6666
id=${uid//-/_}
pods=("kubepods.slice/kubepods-pod$id.slice"
	"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$id.slice"
	"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$id.slice"
	"kubepods/pod$uid" "kubepods/burstable/pod$uid" "kubepods/besteffort/pod$uid")
# In a delegated cgroup, inside of a pod, in a cgroup that kubelet puts no pod in.
others=("ksmt/pod$uid" "ksmt/kubepods/pod$uid" "ksmt/kubepods-pod$id.slice"
	"${pods[0]}/pod$uid" "${pods[3]}/x/pod$uid" "kubepods.slice/x-pod$id.slice"
	"kubepods/x/pod$uid")

cleanup() {
	systemctl -q disable --now ksm-pods@shop.timer
	systemctl -q stop ksm-pods@shop.service kubepods.slice
	systemctl -q reset-failed
	rm -f /etc/systemd/system/ksm-pods@.* /usr/local/sbin/ksm-pods /usr/local/bin/kubectl
	systemctl daemon-reload
	find "$cg"/{ksmt,kubepods,kubepods.slice} -depth -type d -exec rmdir {} +
	rm -rf "$work"
	ksm_reset
} 2>/dev/null

make_group() {
	local at=$cg part
	for part in ${1//\// }; do
		echo +memory >"$at/cgroup.subtree_control" || return
		at=$at/$part
		mkdir -p "$at" || return
	done
}

block() {
	bash -e "$1"
}

# all_have FILE VALUE CGROUP...
all_have() {
	local file=$1 value=$2 group wrong=0
	shift 2
	for group; do
		is "$(<"$cg/$group/$file")" "$value" || { echo "$group"; wrong=1; }
	done
	return "$wrong"
}

fails() {
	! "$@"
}

# kubectl UIDS: one that prints them, where the unit finds it
kubectl_says() {
	printf '#!/bin/sh\necho "$*" >/run/ksm-pods-kubectl\necho %s\n' "$1" |
		install -m 755 /dev/stdin /usr/local/bin/kubectl
}

need_ksm
command -v ksm-cgroup >/dev/null || skip_all "ksm-cgroup was not built"
[ -n "$page" ] || skip_all "the page is not here"
blocks "$page" "$work" "Kubernetes nodes"
files=("$work"/block*)
plan $((${#files[@]} + 23))
trap cleanup EXIT
ksm_reset
ksm_fast

check "the section has commands" between ${#files[@]} 4 20
for file in "${files[@]}"; do
	check "${file##*/}: $(sed -n '2{s/#/./g;s/^\t//;p}' "$file")" block "$file"
	case $(<"$file") in
	*"systemd-run"*)
		for pod in kubepods-pod1_1.slice kubepods-burstable.slice/kubepods-burstable-pod2_2.slice; do
			check "$pod is merged" stat_reaches "$cg/kubepods.slice/$pod" ksm_merging_pages 4000
			check "$pod has the name" all_have memory.ksm.domain @shop "kubepods.slice/$pod"
		done ;;
	*"systemctl stop"*)
		check "what was tried is gone" is "$(find $cg/kubepods.slice -name '*pod[12]_*')" "" ;;
	esac
done
systemctl -q stop ksm-pods@shop.timer

check "the script can be executed" is "$(head -n 1 /usr/local/sbin/ksm-pods)" "#!/bin/bash"
for group in "${pods[@]}" "${others[@]}"; do
	make_group "$group" || echo "# $group can't be made"
done
check "no UID: nothing to do" ksm-pods shop </dev/null
check "a name is needed" fails ksm-pods <<<$uid
check "one that is none fails" fails ksm-pods 'bad name' <<<$uid
check "and nothing is merged then" all_have memory.ksm inherit "${pods[@]}"
check "a UID that is none fails" fails ksm-pods shop <<<"x/../../../ksmt/pod$uid"
check "a pod that is not here does not" ksm-pods shop <<<9-9
check "pods of both drivers" ksm-pods shop <<<$uid
check "they have the name" all_have memory.ksm.domain @shop "${pods[@]}"
check "and the value" all_have memory.ksm 1 "${pods[@]}"
check "what is called like a pod has no name" all_have memory.ksm.domain self "${others[@]}"
check "and no value" all_have memory.ksm inherit "${others[@]}"

for group in "${pods[@]}"; do
	echo inherit >"$cg/$group/memory.ksm"
done
check "no kubectl: the unit fails" fails systemctl -q start ksm-pods@shop.service
check "and is listed as failed" systemctl -q is-failed ksm-pods@shop.service
kubectl_says $uid
check "kubectl: it does not" systemctl -q start ksm-pods@shop.service
check "the pods are merged" all_have memory.ksm 1 "${pods[@]}"
check "kubectl was asked for this node" grep -q -- "-n shop .*spec.nodeName=$HOSTNAME " /run/ksm-pods-kubectl
finish
