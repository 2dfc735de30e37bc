# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# bash completion for ksm-cgroup. Commands, options and columns are asked of the
# program itself; cgroups are completed as paths below their mount.

_ksm_cgroup_options() {
	"$1" "$2" --help 2>/dev/null | grep -oE '(^|[ ,])--?[[:alpha:]][[:alnum:]-]*' | tr -d ' ,'
}

_ksm_cgroup_columns() {
	"$1" list --help 2>/dev/null | awk '/^Columns:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }'
}

_ksm_cgroup_groups() {
	local mount slash=
	mount=$(awk '$3 == "cgroup2" { print $2; exit }' "${KSM_CGROUP_ROOT-}/proc/mounts")
	case $1 in
	"$mount"*) compgen -d -S / -- "$1"; return ;;
	/*) slash=/ ;;
	esac
	(cd "${KSM_CGROUP_ROOT-}$mount" 2>/dev/null && compgen -d -P "$slash" -S / -- "${1#/}")
}

_ksm_cgroup() {
	local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]-}
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		words=$("$program" --help 2>/dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
		mapfile -t COMPREPLY < <(compgen -W "$words --help --version" -- "$cur")
		return
	fi
	case $command:$prev in
	list:-o | list:--output | list:-x | list:--sort | list:-Q | list:--filter)
		local head=${cur%"${cur##*[,+]}"}
		mapfile -t COMPREPLY < <(compgen -P "$head" -W "$(_ksm_cgroup_columns "$program")" -- "${cur##*[,+]}")
		return ;;
	top:-o | top:--order)
		mapfile -t COMPREPLY < <(compgen -W "saved share merges cost path" -- "$cur")
		return ;;
	export:-o | export:--output)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	run:--)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		return ;;
	esac
	case $command:$COMP_CWORD:$cur in
	types:[3-9]:*)
		mapfile -t COMPREPLY < <(compgen -W "inherit +anon +zero +dontdump +locked +undumpable -anon -zero -dontdump -locked -undumpable" -- "$cur") ;;
	*:-*)
		mapfile -t COMPREPLY < <(compgen -W "$(_ksm_cgroup_options "$program" "$command")" -- "$cur") ;;
	domain:3:*)
		mapfile -t COMPREPLY < <(compgen -W "self parent" -- "$cur") ;;
	features:* | run:*) ;;
	*)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(_ksm_cgroup_groups "$cur") ;;
	esac
}

complete -F _ksm_cgroup ksm-cgroup
