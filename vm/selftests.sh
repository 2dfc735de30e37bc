#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the tests here, to be run in the VM, in build/share: ours, and those of
# the kernel's tree that judge us. Everything printed goes to a log.
log=build/log/selftests.log
tree=$PWD/build/linux/tools/testing/selftests
share=$PWD/build/share
headers=$PWD/build/obj/ksm/usr/include
# The tree's mm tests do not all compile with Debian 12's headers: only those
# that are wanted are asked for.
mm=(ksm_functional_tests ksm_tests cow gup_longterm madv_populate migration mkdirty
	mlock2-tests mremap_dontunmap mremap_test pagemap_ioctl soft-dirty uffd-unit-tests)
cgroup=(test_memcontrol)

# kselftest FOLDER [PROGRAM]...: from the folder, all without a program.
kselftest() {
	local folder=$1 program targets=()
	shift
	mkdir -p "$share/$folder"
	for program; do
		targets+=("$share/$folder/$program")
	done
	make -C "$tree/$folder" OUTPUT="$share/$folder" KHDR_INCLUDES="-isystem $headers" "${targets[@]}"
}

uapi_headers() {
	local newest=$headers/linux/prctl.h
	[ "$newest" -nt build/linux.stamp ] && return
	python3 vm/kernel.py ksm headers && touch "$newest"
}

# It passes execv() a vector without its end, and fails or not by what is on the
# stack: the end is added.
end_of_vector() {
	local file=$tree/mm/ksm_functional_tests.c
	grep -q 'CHILD_PRG_NAME };' "$file" || return 0
	sed 's/CHILD_PRG_NAME };/CHILD_PRG_NAME, NULL };/' "$file" >"$file.new" &&
		mv "$file.new" "$file"
}

# They read pagemap in two ways and end where these differ, as they do while ksmd
# splits a huge page: until they agree, both are read again.
reads_agree() {
	local file=$tree/mm/vm_util.c
	grep -q 'if (m != s)' "$file" && return
	sed 's/^\t\tif (m == s)$/\t\tif (m != s)\n\t\t\treturn page_entry_is(fd, start, desc, pagemap_flags, pagescan_flags);\n&/' \
		"$file" >"$file.new" && grep -q 'if (m != s)' "$file.new" && mv "$file.new" "$file"
}

# Which of the built files are tests: vm/check.py runs these.
programs() {
	sed -n '/^TEST_GEN_PROGS/,/[^\\]$/{s/^TEST_GEN_PROGS *[:+]*= *//;s/\\$//;p}' \
		selftests/Makefile >"$share/ksm_cgroup.programs"
}

userland() {
	rm -rf "$share/userland" &&
		cp -r selftests/userland "$share/" &&
		cp build/tool/ksm-cgroup "$share/userland/" &&
		cp Documentation/admin-guide/mm/ksm-cgroup{,-vm}.rst "$share/userland/" &&
		cp vm/merged.sh "$share/"
}

all() {
	mkdir -p "$share" &&
		uapi_headers &&
		end_of_vector &&
		reads_agree &&
		kselftest mm "${mm[@]}" &&
		kselftest cgroup "${cgroup[@]}" &&
		kselftest ksm_cgroup &&
		programs &&
		userland
}

echo "==> building the tests" >&2
mkdir -p "${log%/*}"
if ! all >$log 2>&1 </dev/null; then
	grep -E 'error|Error' $log >&2
	echo "selftests: they do not build, see $log" >&2
	exit 1
fi
