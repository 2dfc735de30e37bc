# SPDX-License-Identifier: GPL-2.0
"""doctor and features: each state in which nothing happens has its sentence."""
import json
import os

from recorded import Tree, has, lacks, same

MIB = 1 << 20


def healthy(**more):
    """A cgroup in which all is well; what is given replaces a part of it."""
    box = {"ksm": "1", "pids": [1, 2], "anon": 8 * MIB,
           "stat": {"ksm_merging_pages": 100, "pages_shared": 50, "pages_sharing": 50,
                    "pages_saved": 25, "pages_scanned": 1000, "pages_merged": 120, "general_profit": 100000}}
    box.update(more.pop("box", {}))
    box["stat"] = dict(box["stat"], **more.pop("stat", {}))
    processes = more.pop("processes", {1: {}, 2: {}})
    for about in processes.values():
        about.setdefault("any_", "yes")
        about.setdefault("mergeable", "yes")
    cgroups = dict({"/": {}, "/box": box}, **more.pop("cgroups", {}))
    return Tree(cgroups, processes, **more)


def says(tree, *wanted, status=1, cgroup="/box"):
    got, out, error = tree.run("doctor", cgroup)
    same(error, "")
    has(out, *wanted)
    assert got == status, "status %d: %s" % (got, out)
    return out


def test_healthy():
    """nothing is found where all is well"""
    with healthy() as tree:
        out = says(tree, "/box: 2 processes, memory.ksm 1, effective 1, domain /box", "merged 400K",
                   "saved 100K", "Nothing stands in the way", status=0)
        lacks(out, "->")
    # Processes of another pid namespace show as 0.
    with healthy(box={"pids": [1, 2, 0, 0]}) as tree:
        says(tree, "/box: 2 processes", status=0)


def test_no_ksm():
    """the kernel has no KSM"""
    with healthy(run=None) as tree:
        says(tree, "no KSM", "CONFIG_KSM=y")


def test_stopped():
    """run is 2 for all, run_cgroups is 0 for a cgroup that has a value"""
    for value in ("1", "madvise", "inherit"):
        with healthy(box={"ksm": value}, run=2) as tree:
            lacks(says(tree, "run is 2", "echo 0 >/sys/kernel/mm/ksm/run"), "run_cgroups")
    for value in ("1", "madvise"):
        for run in (0, 1):
            with healthy(box={"ksm": value}, run=run, run_cgroups=0) as tree:
                lacks(says(tree, "run_cgroups is 0", "echo 1 >/sys/kernel/mm/ksm/run_cgroups"), "run is")
    for run in (0, 2):
        with healthy(stock=True, run=run) as tree:
            says(tree, "run is %d" % run, "echo 1 >/sys/kernel/mm/ksm/run\n")


def test_run():
    """run is 0 and no own value counts; served with one, or with run 1"""
    for cgroups in (0, 1):
        with healthy(box={"ksm": "inherit"}, run_cgroups=cgroups) as tree:
            lacks(says(tree, "run is 0", "ksm-cgroup on /box"), "run_cgroups")
        with healthy(box={"ksm": "inherit"}, run=1, run_cgroups=cgroups) as tree:
            says(tree, status=0)
    with healthy(box={"ksm": "inherit"}, cgroups={"/": {"ksm": "1"}}) as tree:
        says(tree, status=0)
    # It joins the root's domain, and its value counts all the same.
    for run in (0, 1):
        with healthy(box={"ksm": "1", "domain": "parent"}, run=run) as tree:
            says(tree, status=0)


def test_no_pages_to_scan():
    """pages_to_scan is 0"""
    with healthy(pages_to_scan=0) as tree:
        says(tree, "pages_to_scan is 0", "echo 100")


def test_slow():
    """a pass would take long at this pace: a note"""
    with healthy(box={"anon": 480 << 30}) as tree:
        says(tree, "can take 28 minutes", "advisor", status=0)


def test_nodes():
    """NUMA nodes kept apart: a note"""
    with healthy(merge_across_nodes=0) as tree:
        lacks(says(tree, status=0), "merge_across_nodes")
        tree.write("sys/devices/system/node/node1/cpulist", "1")
        says(tree, "merge_across_nodes is 0", status=0)


def test_stock():
    """a kernel without memory.ksm, and nobody asks"""
    with healthy(stock=True, run=1, processes={1: {"any_": "no", "mergeable": "no"}, 2: {
            "any_": "no", "mergeable": "no"}}) as tree:
        says(tree, "no memory.ksm", "run --merge", "none of 2 processes asks")


def test_no_controller():
    """version 2 has no memory controller, or it was switched off at boot"""
    with healthy(stock=True, cgroups={"/": {"controllers": "cpu"}}) as tree:
        says(tree, "no memory controller", "cgroup_no_v1=memory")
        tree.write("proc/cmdline", "quiet cgroup_disable=memory ro")
        says(tree, "cgroup_disable=memory", "boot without it")


def test_not_handed_down():
    """an ancestor does not hand the controller down; the uppermost is named"""
    with Tree({"/": {}, "/a": {"subtree_control": ""}, "/a/b": {"subtree_control": ""},
               "/a/b/box": {"no_memory": True}}) as tree:
        out = says(tree, "/a does not hand it down", cgroup="/a/b/box")
        has(out, "echo +memory >/sys/fs/cgroup/a/cgroup.subtree_control")


def test_threaded():
    """a threaded cgroup has no files"""
    with Tree({"/": {}, "/box": {"type": "threaded"}}) as tree:
        says(tree, "threaded", "domain threaded")


def test_zero():
    """a 0 here, a 0 above: who says it"""
    with healthy(box={"ksm": "0"}) as tree:
        says(tree, "memory.ksm of /box is 0", "ksm-cgroup on /box")
    with healthy(cgroups={"/": {"ksm": "0"}}) as tree:
        says(tree, "memory.ksm of / is 0", "ksm-cgroup inherit /")
    # The value above is what it gave up.
    for above in ("1", "madvise"):
        with Tree({"/": {}, "/up": {"ksm": above}, "/up/box": {"ksm": "0"}}) as tree:
            lacks(says(tree, "-> ksm-cgroup inherit /up/box\n", cgroup="/up/box"), "ksm-cgroup on")


def test_not_granted():
    """a 1 that was written without CAP_SYS_ADMIN, and no granted 1 above"""
    mine = {"ksm": "1", "ungranted": True}
    remedy = "as root of the host: ksm-cgroup on "
    for run in (0, 1):
        with healthy(box=mine, run=run) as tree:
            out = says(tree, "memory.ksm 1, effective madvise, domain /,",
                       "! not granted: memory.ksm of /box is 1", "CAP_SYS_ADMIN", remedy + "/box")
            lacks(out, "run is", "only what asks")
            # inherited
            tree.cgroup("/box/in", {"pids": [1]})
            says(tree, "memory.ksm of /box is 1", remedy + "/box", cgroup="/box/in")
    # The root's own.
    with healthy(box={"ksm": "inherit"}, cgroups={"/": dict(mine)}) as tree:
        lacks(says(tree, "not granted: memory.ksm of / is 1", remedy + "/,"), "run is")
    # A 0 on the path is the reason there.
    with healthy(box=mine, cgroups={"/": {"ksm": "0"}}) as tree:
        lacks(says(tree, "memory.ksm of / is 0"), "not granted")


def test_granted_above():
    """a granted 1 above makes it count, a granted madvise between takes that back"""
    mine = {"ksm": "1", "ungranted": True, "pids": [1, 2]}
    with healthy(cgroups={"/box/x": dict(mine), "/box/x/y": {}, "/box/x/y/z": dict(mine)}) as tree:
        out = says(tree, "domain /box/x/y/z", status=1, cgroup="/box/x/y/z")
        lacks(out, "granted")
        says(tree, "2 cgroups below share nothing", "/box/x and others", status=0)
    with healthy(cgroups={"/box/x": {"ksm": "madvise"}, "/box/x/y": dict(mine)}) as tree:
        says(tree, "domain /box/x", "not granted: memory.ksm of /box/x/y is 1",
             "ksm-cgroup on /box/x/y", cgroup="/box/x/y")
        says(tree, "1 cgroup below shares nothing", "/box/x", status=0)


def test_nobody_asks():
    """madvise, and nobody asks"""
    quiet = {"any_": "no", "mergeable": "no"}
    with healthy(box={"ksm": "madvise"}, processes={1: dict(quiet), 2: dict(quiet)}) as tree:
        says(tree, "only what asks is merged here, and none of 2", "ksm-cgroup on /box")
    with healthy(box={"ksm": "madvise"}, processes={1: dict(quiet), 2: {}}) as tree:
        says(tree, status=0)


def test_domains_below():
    """cgroups below with domains of their own: a note"""
    with healthy(cgroups={"/box/x": {"ksm": "1"}, "/box/y": {"ksm": "1"}, "/box/y/z": {}}) as tree:
        says(tree, "2 cgroups below share nothing", "/box/x and others", status=0)
    with healthy(cgroups={"/box/x": {"ksm": "1", "domain": "parent"}}) as tree:
        lacks(says(tree, status=0), "below")


def test_domain_name():
    """a domain with a name: what it is, that nothing else is in it, that it has no effect"""
    named = {"domain": "@shop"}
    with healthy(box=named, cgroups={"/far": {}, "/far/b": {"ksm": "1", "domain": "@shop"}}) as tree:
        lacks(says(tree, "domain @shop, merged", status=0), "no cgroup but", "->")
    with healthy(box=named, cgroups={"/box/in": {}, "/b": {"domain": "@shop"},
                                     "/c": {"ksm": "1", "domain": "@shopp"}}) as tree:
        says(tree, "no cgroup but /box is in domain @shop", "-Q 'join =~ @'", status=0)
    with healthy(box={"ksm": "inherit", "domain": "@shop"}, run=1) as tree:
        says(tree, "memory.ksm.domain of /box is @shop, which has no effect", "ksm-cgroup on /box",
             status=0)
    with healthy(box=named, cgroups={"/box/x": {"ksm": "1", "domain": "@shop"}}) as tree:
        lacks(says(tree, status=0), "below share nothing", "no cgroup but")
    with healthy(box=named, cgroups={"/box/x": {"ksm": "1", "domain": "@other"}}) as tree:
        out = says(tree, "1 cgroup below shares by name, not with the others here: /box/x in @other\n",
                   "ksm-cgroup list -o CGROUP,KSM,DOMAIN,SAVED /box", status=0)
        lacks(out, "nothing with the others")
    pod = {"ksm": "1", "domain": "@shop"}
    with healthy(cgroups={"/box/x": dict(pod), "/box/y": dict(pod), "/box/z": {"ksm": "1"}}) as tree:
        says(tree, "2 cgroups below share by name", "/box/x in @shop and others",
             "1 cgroup below shares nothing with the others here", "/box/z\n", status=0)


def test_no_process():
    """no process is there"""
    with healthy(box={"pids": []}) as tree:
        says(tree, "no process is in /box", "cgroup.procs")


def test_never():
    """processes that opted out: all block, some are worth a note"""
    out = {"any_": "no", "mergeable": "no", "policy": "never"}
    with healthy(processes={1: dict(out), 2: dict(out)}) as tree:
        says(tree, "2 of 2 processes keep out", "run --default")
    with healthy(processes={1: dict(out), 2: {}}) as tree:
        says(tree, "1 of 2 processes keeps out", status=0)


def test_left_out():
    """processes that a 1 does not take"""
    out = {"any_": "no", "mergeable": "no"}
    with healthy(processes={1: dict(out), 2: dict(out)}) as tree:
        out = says(tree, "2 of 2 processes take no part", "not dumpable",
                   "prctl(PR_SET_MEMORY_MERGE, 1)", "'ksm-cgroup run'", "types /box +undumpable")
        lacks(out, "as root")


def test_no_anonymous():
    """no anonymous memory; more swapped out than in RAM"""
    with healthy(box={"anon": 0}) as tree:
        says(tree, "no anonymous memory in RAM")
    with healthy(box={"anon": MIB, "swap": 3 * MIB}) as tree:
        says(tree, "swapped out (3.0M) than in RAM (1.0M)", status=0)


def test_not_looked_at():
    """nothing was looked at yet"""
    none = {"ksm_merging_pages": 0, "pages_scanned": 0}
    with healthy(stat=none) as tree:
        says(tree, "nothing was looked at", "ksm-cgroup scan /box")
    # After a change of the domain: events stay, and nothing is remembered.
    with healthy(box={"anon": 64 * MIB}, stat={"ksm_merging_pages": 0, "full_scans": 9}) as tree:
        out = says(tree, "! nothing of what is here was scanned yet", "full_scans in memory.ksm.stat",
                   "ksm-cgroup scan /box")
        lacks(out, "is different", "takes part", "+dontdump", "+locked", "MADV_")
    with healthy(box={"anon": 64 * MIB}, stat=dict(none, full_scans=9)) as tree:
        lacks(says(tree), "takes part", "+dontdump")


def test_changing():
    """most of it changes"""
    with healthy(stat={"ksm_merging_pages": 0, "pages_volatile": 512, "pages_unshared": 9}) as tree:
        says(tree, "(2.0M) was seen once, or keeps changing")


def test_all_different():
    """all is different"""
    with healthy(stat={"ksm_merging_pages": 0, "pages_unshared": 512}) as tree:
        says(tree, "all that was looked at (2.0M) is different", "within /box", "estimate")


def test_marked():
    """memory that is marked or refused: full scans passed, and little is known of it"""
    with healthy(box={"anon": 64 * MIB}, stat={"full_scans": 5}) as tree:
        says(tree, "of 64.0M of anonymous memory only 400K takes part", "dump-guest-core=off",
             "mem-merge=on", "types /box +dontdump +locked", status=0)
    with healthy(box={"anon": 64 * MIB}, stat={"full_scans": 1}) as tree:
        lacks(says(tree, status=0), "takes part:")
    with healthy(box={"anon": 64 * MIB}, stat={"full_scans": 5, "pages_unshared": 9000}) as tree:
        lacks(says(tree, status=0), "takes part:")


def test_types():
    """memory.ksm.types without anon, here or above: zeroes alone, or nothing"""
    with healthy(box={"types": "zero"}) as tree:
        says(tree, "- only pages of zeroes", "ksm-cgroup types /box +anon", status=0)
    with healthy(cgroups={"/": {"types": "zero locked"}}) as tree:
        says(tree, "- only pages of zeroes", status=0)
    for types in ("", "locked"):
        with healthy(box={"types": types}) as tree:
            says(tree, "! memory.ksm.types has neither anon nor zero")
        with healthy(box={"types": types}, use_zero_pages=1) as tree:
            says(tree, "- only pages of zeroes", status=0)
    with healthy(box={"types": "anon"}, cgroups={"/": {"types": "zero"}}) as tree:
        lacks(says(tree, status=0), "zeroes")
    # Nothing is remembered of what is not zero, so that says nothing.
    with healthy(box={"types": "zero", "anon": 64 * MIB}, stat={"full_scans": 5}) as tree:
        lacks(says(tree, status=0), "takes part:")
    with healthy(box={"types": "zero"}, stat={"ksm_merging_pages": 0}) as tree:
        lacks(says(tree, "! there are no pages of zeroes"), "different")


QEMU = ("/usr/bin/qemu-system-x86_64", "-m", "64")
MERGED_ANYWAY = "PID 1 in /box for one: the 1 merges that all the same"


def machine(*words, box=None, cgroups=None, **about):
    """A cgroup of which process 1 has this command line."""
    process = dict({"comm": "qemu-system-x86", "command": words}, **about)
    return healthy(box=box or {}, cgroups=cgroups or {}, processes={1: process, 2: {}})


def test_mem_merge_off():
    """a 1 over QEMU's mem-merge=off, in each spelling that QEMU takes: a note"""
    for words in (("-machine", "q35,mem-merge=off"), ("-M", "mem-merge=no"),
                  ("--machine", "pc,mem-merge=false,usb=off"), ("-machine", "mem_merge=n"),
                  ("-machine", "mem-merge=on", "-M", "mem-merge=off"),
                  ("-M", "mem-merge=on,mem-merge=off", "-name", "x")):
        with machine(*QEMU, *words) as tree:
            out = says(tree, "- 1 virtual machine has mem-merge=off", MERGED_ANYWAY,
                       "ksm-cgroup madvise /box", "run --no-merge", "Nothing stands", status=0)
            lacks(out, "never merged")
    for words in ((), ("-machine", "q35"), ("-machine", "mem-merge=on"), ("-M", "mem-merge=y"),
                  ("-M", "mem-merge=off", "-machine", "q35,mem-merge=on"),
                  # not what the option is called, nor where it is one
                  ("-machine", "xmem-merge=off"), ("-machine", "mem-merge"),
                  ("-machine", "mem-merge-x=off"), ("-name", "mem-merge=off"),
                  ("-machine", "mem-merge=OFF"), ("-machine",)):
        with machine(*QEMU, *words) as tree:
            lacks(says(tree, status=0), "mem-merge")
    # Its program has another name, but it holds a machine.
    other = ("/opt/vmm", "-machine", "mem-merge=off")
    with machine(*other, kvm=True) as tree:
        says(tree, MERGED_ANYWAY, status=0)
    with machine(*other) as tree:
        lacks(says(tree, status=0), "mem-merge")
    # The end of a long command line.
    with machine(*QEMU, *("-device", "x" * 100) * 1000, "-M", "mem-merge=off") as tree:
        says(tree, MERGED_ANYWAY, status=0)


def test_mem_merge_off_elsewhere():
    """mem-merge=off where no 1 is in force, or the process keeps out: no note"""
    off = QEMU + ("-machine", "q35,mem-merge=off")
    with machine(*off, box={"ksm": "madvise"}) as tree:
        lacks(says(tree, status=0), "mem-merge")
    with machine(*off, policy="never", any_="no", mergeable="no") as tree:
        lacks(says(tree, status=0), "mem-merge")
    # The value of the process's own cgroup counts, not of the one that is asked about.
    below = {"/box/vm": {"ksm": "madvise", "pids": [1]}}
    with machine(*off, box={"pids": [2]}, cgroups=below) as tree:
        lacks(says(tree, status=0), "mem-merge")
    above = {"/box/vm": {"ksm": "1", "pids": [1]}}
    with machine(*off, box={"ksm": "madvise", "pids": [2]}, cgroups=above) as tree:
        says(tree, "PID 1 in /box/vm for one", "ksm-cgroup madvise /box/vm", status=0)


def test_guests_are_not_switched_on():
    """where virtual machines are or will be, a 1 is never the remedy"""
    vm = {"pids": [1], "anon": 8 * MIB}
    guest = {1: {"command": QEMU, "any_": "yes", "mergeable": "yes"}}
    for group, what in (({"ksm": "inherit"}, "run is 0"), ({"ksm": "0"}, "is 0, which wins"),
                        ({"ksm": "1", "ungranted": True}, "not granted")):
        with Tree({"/": {}, "/box": dict(vm, **group)}, guest) as tree:
            lacks(says(tree, what, "ksm-cgroup madvise /box"), "ksm-cgroup on")
        for name in ("/machine.slice", "/qemu.slice"):
            with Tree({"/": {}, name: group}) as tree:
                lacks(says(tree, what, "ksm-cgroup madvise " + name, cgroup=name), "ksm-cgroup on")
    # A guest shares with its neighbours by the value of the slice, not by its own.
    slice_, name = "/machine.slice", "/machine.slice/vm.service"
    with Tree({"/": {}, slice_: {}, name: vm}, guest) as tree:
        says(tree, "ksm-cgroup madvise /machine.slice, or", cgroup=name)
    with Tree({"/": {}, slice_: {}, name: dict(vm, ksm="0")}, guest) as tree:
        says(tree, "ksm-cgroup inherit %s, and ksm-cgroup madvise /machine.slice\n" % name, cgroup=name)
    with Tree({"/": {}, slice_: {"ksm": "madvise"}, name: dict(vm, ksm="0")}, guest) as tree:
        lacks(says(tree, "-> ksm-cgroup inherit %s\n" % name, cgroup=name), "madvise /machine")
    # /machine.slices is another cgroup.
    with Tree({"/": {}, "/machine.slices": {}}) as tree:
        says(tree, "ksm-cgroup on /machine.slices", cgroup="/machine.slices")


def test_owner_chose():
    """madvise and mem-merge=off: nobody's business but the owner's"""
    quiet = {"any_": "no", "mergeable": "no"}
    off = dict(quiet, command=QEMU + ("-M", "mem-merge=off"))
    box = {"ksm": "madvise", "pids": [1, 2]}
    for pids, wanted in (([1], "1 virtual machine does not, by mem-merge=off"),
                         ([1, 2], "2 virtual machines do not, by mem-merge=off")):
        with healthy(box=dict(box, pids=pids), processes={pid: dict(off) for pid in pids}) as tree:
            lacks(says(tree, wanted, "what the owner chose"), "ksm-cgroup on", "run --merge")
    with healthy(box=box, processes={1: dict(quiet, command=QEMU), 2: dict(off)}) as tree:
        lacks(says(tree, "none of 2 processes asks", "--memory mergeable=on"), "ksm-cgroup on")


def test_pods():
    """kubelet's slices hold the pods of all tenants: no 1 there, but a name for each pod"""
    for name in ("/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice", "/kubepods/besteffort"):
        with Tree({"/": {}, os.path.dirname(name): {}, name: {"pids": [1]}}, {1: {}}) as tree:
            out = says(tree, "run is 0", "would let all tenants share", "ksm-cgroup domain POD @NAME",
                       cgroup=name)
            lacks(out, "ksm-cgroup on /")
    pod = {"ksm": "1", "domain": "@shop", "pids": [1], "anon": MIB, "stat": {"ksm_merging_pages": 9}}
    pods = {"/": {}, "/kubepods": {"anon": MIB, "stat": {"ksm_merging_pages": 9}},
            "/kubepods/pod1": pod, "/kubepods/pod2": dict(pod, pids=[2])}
    took = {"any_": "yes", "mergeable": "yes"}
    with Tree(pods, {1: dict(took), 2: dict(took)}) as tree:
        out = says(tree, "- /sys/kernel/mm/ksm/run is 0", "2 cgroups below share by name", status=0,
                   cgroup="/kubepods")
        lacks(out, "inherit /kubepods/pod", "share nothing")
    del pod["domain"]
    with Tree(dict(pods, **{"/kubepods/pod1": pod}), {1: dict(took), 2: dict(took)}) as tree:
        out = says(tree, "share", "ksm-cgroup domain /kubepods/pod1 @NAME", status=0,
                   cgroup="/kubepods")
        lacks(out, "inherit /kubepods/pod")
    with Tree({"/": {}, "/kubepods": {}, "/kubepods/pod1": {}}) as tree:
        says(tree, "ksm-cgroup on /kubepods/pod1", cgroup="/kubepods/pod1")


def test_one():
    """one is not many"""
    with healthy(box={"pids": [1]}, processes={1: {}}) as tree:
        says(tree, "/box: 1 process, memory", status=0)
    out = {"any_": "no", "mergeable": "no"}
    with healthy(box={"pids": [1]}, processes={1: dict(out, policy="never")}) as tree:
        says(tree, "1 of 1 process keeps out")
    with healthy(box={"pids": [1]}, processes={1: dict(out)}) as tree:
        says(tree, "1 of 1 process takes no part")
    with healthy(box={"ksm": "madvise", "pids": [1]}, processes={1: dict(out)}) as tree:
        says(tree, "none of 1 process asks")


def test_dump_guest_core():
    """mem-merge=off with dump-guest-core=off: what keeps the memory out is the latter"""
    marked = QEMU + ("-machine", "pc,mem-merge=off,dump-guest-core=off")
    with machine(*marked) as tree:
        lacks(says(tree, "what keeps the 1 from merging that is MADV_DONTDUMP", status=0),
              "all the same")
    with machine(*marked) as tree:
        tree.process(2, command=QEMU + ("-M", "mem-merge=off"), any_="yes", mergeable="yes")
        says(tree, "- 1 virtual machine has", "PID 2 in /box for one: the 1 merges", status=0)


def test_fixed_memory():
    """guest memory that is shared, or hugetlb: nothing of it can ever be merged"""
    box = {"anon": 16 * MIB}
    for rss, wanted, not_wanted in (
            ({"RssAnon": 16384, "RssShmem": 1 << 20},
             ("! 1.0G of the memory of 1 virtual machine is shared", "share=off"), "hugetlb, PID"),
            ({"RssAnon": 16384, "HugetlbPages": 1 << 20},
             ("! 1.0G of the memory of 1 virtual machine is hugetlb", "transparent"), "is shared")):
        for words in (QEMU, ("cloud-hypervisor", "--memory", "size=1G")):
            with machine(*words, box=box, status=rss) as tree:
                lacks(says(tree, *wanted), not_wanted, "Nothing stands")
        # Beside other memory it is worth a note; of a program that is no machine nothing.
        with machine(*QEMU, box={"anon": 8 << 30}, status=rss) as tree:
            says(tree, "-" + wanted[0][1:], "Nothing stands", status=0)
        with machine("postgres", box=box, status=rss) as tree:
            lacks(says(tree, status=0), "virtual machine")
        with machine("/opt/vmm", box=box, status=rss, kvm=True) as tree:
            says(tree, *wanted)
    both = {"RssAnon": 16384, "RssShmem": 1 << 20, "HugetlbPages": 1 << 20}
    with machine(*QEMU, box=box, status=both) as tree:
        says(tree, "is shared (memfd, virtio-fs, vhost-user), PID 1", "is hugetlb, PID 1")
    # A little that is shared, as with a display, beside hugetlb or private memory.
    with machine(*QEMU, box=box, status=dict(both, RssShmem=4096)) as tree:
        lacks(says(tree, "is hugetlb, PID 1"), "is shared (memfd")
    with machine(*QEMU, box=box, status={"RssAnon": 1 << 20, "RssShmem": 16384}) as tree:
        lacks(says(tree, status=0), "virtual machine")


def test_weight():
    """a weight that is next to nothing among its siblings"""
    with healthy(box={"weight": 1}, cgroups={"/big": {"weight": 10000}}) as tree:
        says(tree, "memory.ksm.weight is 1", "ksm-cgroup weight /box 100", status=0)
    with healthy(box={"weight": 99}) as tree:
        lacks(says(tree, status=0), "weight")


def test_failures():
    """pages that are held"""
    with healthy(stat={"merge_failures": 5000}) as tree:
        says(tree, "5000 attempts", "O_DIRECT", status=0)


def test_foreign_and_loss():
    """foreign pages, and merging that costs more than it saves"""
    with healthy(stat={"pages_foreign": 8, "general_profit": -2 * MIB}) as tree:
        says(tree, "8 pages came from another domain", "costs 2.0M more", "ksm-cgroup off /box",
             status=0)
    # Who shares with others may pay for them: what counts is the domain.
    loss = {"general_profit": -2 * MIB}
    with healthy(box={"domain": "@shop"}, stat=loss,
                 cgroups={"/far": {"ksm": "1", "domain": "@shop"}}) as tree:
        out = says(tree, "the profit is -2.0M here", "domain @shop may pay", "the sum over the domain",
                   "-Q 'domain == @shop'", status=0)
        lacks(out, "ksm-cgroup off", "more memory")
    with healthy(box={"domain": "@shop"}, stat=loss) as tree:
        says(tree, "costs 2.0M more", "ksm-cgroup off /box", status=0)
    with healthy(box={"ksm": "inherit"}, stat={}, cgroups={"/up": {"ksm": "1"}, "/up/box": {
            "pids": [1, 2], "anon": 8 * MIB, "stat": dict(loss, ksm_merging_pages=9)}}) as tree:
        out = says(tree, "domain /up may pay", "ksm-cgroup list /up\n", status=0, cgroup="/up/box")
        lacks(out, "ksm-cgroup off")


def test_pending():
    """what is still to be unshared, and the limit that stands in its way"""
    note = "- 4.0M is still to be unshared"
    off = {"ksm": "0", "memory": 40 * MIB}
    pending = {"pages_pending": 1024}
    worker = "a worker unshares it"
    short = "memory.max of /box is too low: raise it by about 4.0M"
    with healthy(box=off) as tree:
        lacks(says(tree), "unshared")
    # No limit, one that is far, and just not near enough: the margin is 1/64 of it.
    for most in ("max", 64 * MIB, 41 * MIB):
        with healthy(box=dict(off, max=most), stat=pending) as tree:
            lacks(says(tree, "memory.ksm of /box is 0", note, worker), "memory.max")
    for most in (40 * MIB + 640 * 1024, 40 * MIB, 36 * MIB):
        with healthy(box=dict(off, max=most), stat=pending) as tree:
            lacks(says(tree, note, short), worker)
    # The margin is 384 KiB at least and 4 MiB at most.
    for memory, most, full in ((MIB, MIB + 384 * 1024, True), (MIB, MIB + 388 * 1024, False),
                               (1020 * MIB, 1024 * MIB, True), (1019 * MIB, 1024 * MIB, False)):
        with healthy(box=dict(off, memory=memory, max=most), stat=pending) as tree:
            has(says(tree, note), short if full else worker)
    # The limit of a cgroup above; of one below, if something is pending there.
    with Tree({"/": {}, "/up": {"memory": 8 * MIB, "max": 8 * MIB},
               "/up/box": dict(off, stat=pending)}) as tree:
        says(tree, note, "memory.max of /up is too low", cgroup="/up/box")
    for below, full in ((pending, True), ({}, False)):
        with healthy(box=off, stat=pending, cgroups={
                "/box/in": {"memory": 8 * MIB, "max": 8 * MIB, "stat": below}}) as tree:
            has(says(tree, note), "memory.max of /box/in is" if full else worker)
    # Where merging is on and all of it is foreign, the note on that is enough.
    foreign = dict(pending, pages_foreign=1024)
    with healthy(stat=foreign) as tree:
        lacks(says(tree, "1024 pages came from another domain", status=0), "still to be unshared")
    for more in ({"stat": dict(foreign, pages_foreign=1023)},
                 {"stat": foreign, "box": {"memory": MIB, "max": MIB}}):
        with healthy(**more) as tree:
            says(tree, "pages came from another domain", note, status=0)


def test_usage():
    """doctor needs one cgroup that there is"""
    with healthy() as tree:
        same(tree.run("doctor")[0], 2)
        same(tree.run("doctor", "/a", "/b")[0], 2)
        same(tree.run("doctor", "/nope")[0], 1)


def features(tree):
    status, out, error = tree.run("features", "-J")
    same((status, error), (0, ""))
    return {line["feature"]: (line["there"], line["detail"])
            for line in json.loads(out)["features"]}


def test_features():
    """features: all that our kernel has"""
    with healthy(advisor_mode="none [scan-time]", use_zero_pages=1) as tree:
        tree.write("sys/kernel/cgroup/delegate", "cgroup.procs\nmemory.ksm.scan\nmemory.reclaim")
        tree.write("proc/swaps", "Filename Type\n/dev/zram0 partition")
        found = features(tree)
        for name in ("samepage merging", "scanner", "cgroup version 2", "memory controller",
                     "memory.ksm", "may set own cgroup", "scan is delegatable", "process figures",
                     "process takes part", "follow cgroup again", "smart scan", "advisor",
                     "zero pages", "swap"):
            same((name, found[name][0]), (name, "yes"))


def test_features_missing():
    """features: what is missing has a reason"""
    with healthy(stock=True, run=0, smart_scan=0, cgroups={"/": {"subtree_control": "cpu"}},
                 processes={"self": {"text": "ksm_rmap_items 0"}}) as tree:
        tree.write("sys/kernel/cgroup/delegate", "memory.ksm.scanner\nmemory.ksm")
        tree.write("proc/swaps", "Filename Type")
        found = features(tree)
        for name, reason in (("scanner", "run is 0"), ("memory controller", "echo +memory"),
                             ("memory.ksm", "ksm-cgroup kernel"),
                             ("scan is delegatable", "on demand"),
                             ("process takes part", "doctor knows less"),
                             ("follow cgroup again", "run --default"), ("smart scan", "echo 1"),
                             ("advisor", "scan-time"), ("zero pages", "echo 1"),
                             ("swap", "no swap")):
            same((name, found[name][0]), (name, "no"))
            has(found[name][1], reason)
    with healthy(run=None, mounts=False, stock=True, processes={"self": {"text": ""}}) as tree:
        found = features(tree)
        has(found["samepage merging"][1], "CONFIG_KSM=y")
        has(found["cgroup version 2"][1], "mount -t cgroup2")
        has(found["process figures"][1], "Linux 6.1")


def test_features_grant():
    """features: a value is granted with CAP_SYS_ADMIN in the initial user namespace"""
    whole, part = "0 0 4294967295", "0 100000 65536"
    for caps, uid_map, grants in (("000001ffffffffff", whole, True),
                                  ("0000000000200000", whole, True),
                                  ("0000000000000000", whole, False),
                                  ("000001ffffdfffff", whole, False),
                                  ("000001ffffffffff", part, False)):
        with healthy() as tree:
            tree.write("proc/self/status", "Name:\tksm-cgroup\nCapEff:\t%s\nSeccomp:\t0" % caps)
            tree.write("proc/self/uid_map", uid_map)
            there, detail = features(tree)["may set own cgroup"]
            same((caps, uid_map, there), (caps, uid_map, "yes"))
            same((caps, uid_map, detail or ""), (caps, uid_map, "" if grants else
                 "not granted: a 1 or madvise written by this user counts only where the nearest "
                 "granted value above is a 1"))


def test_features_usage():
    """features takes no arguments"""
    with healthy() as tree:
        same(tree.run("features", "x")[0], 2)
        same(tree.run("features", "-x")[0], 2)
