# SPDX-License-Identifier: GPL-2.0
"""What make check runs: one row a program.

Tests of selftests/ksm_cgroup (every TEST_GEN_PROGS) and of selftests/userland
(every *.sh, settings in its "# key: value" lines) are added by vm/check.py.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KERNELS = ("ksm", "debug")


@dataclass(frozen=True)
class Shape:
    """The machine that a test runs on; tests with the same one share a boot."""

    mem: str = "2G"
    cpus: int = 2
    nodes: int = 1
    append: str = ""    # to the kernel's command line


@dataclass(frozen=True)
class Known:
    """A failure that is not ours."""

    reason: str
    note: str = ""      # what the result has to say as well, to be that failure


@dataclass(frozen=True)
class Test:
    name: str
    command: str        # bash, as root, in a scratch directory; the tests are below /mnt/share
    # "tap" reads ok/not ok and compares their number with the plan, "exit" takes
    # the exit status (4 is a skip), "kunit" reads what debugfs has kept, "uffd"
    # what uffd-unit-tests prints.
    parser: str = "tap"
    kernels: tuple[str, ...] = KERNELS
    shape: Shape = Shape()
    timeout: int = 180  # seconds, on the plain kernel; the debug kernel gets six times that
    plan: int | None = None     # how many results, for a program that does not print it
    # by result: failures that are counted as skipped
    expected: Mapping[str, Known] = field(default_factory=dict)
    # {result: reason}: why it skips itself, where it does not say
    skips: Mapping[str, str] = field(default_factory=dict)


KSM_TESTS = "cd /mnt/share/mm && ./ksm_tests"
# Not of our making: it fails on the stock kernel in this VM as well.
MEMCONTROL = {"test_memcg_low": Known("fails on the stock kernel as well")}
SWAP = ("zram=$(zramctl -f -s 512M) && mkswap -q $zram && swapon $zram && trap "
        "'swapoff $zram; echo 1 >/sys/block/${zram##*/}/reset' EXIT; ")

# The kernel's own tests of what merging must not change, in a cgroup that is
# merged all the while.
MERGED = "/mnt/share/merged.sh stdbuf -oL /mnt/share/mm/"


def merged(words: str, before: str = "", **options: Any) -> Test:
    return Test(f"merged {words}", f"{before}{MERGED}{words}", **options)


NO_HUGETLB = {f"migration.{kind}_anon_htlb": Known("fails on the stock kernel as well: no pages of "
                                                   "hugetlb are reserved")
              for kind in ("private", "shared")}
TESTS = [
    Test("kunit", "cat /sys/kernel/debug/kunit/*/results", "kunit"),
    Test("ksm_functional_tests", "cd /mnt/share/mm && ./ksm_functional_tests"),
    Test("ksm_tests -M", f"{KSM_TESTS} -M -p 10", "exit"),
    Test("ksm_tests -M prctl", f"{KSM_TESTS} -M -p 10 -t 1", "exit"),
    Test("ksm_tests -U", f"{KSM_TESTS} -U", "exit"),
    Test("ksm_tests -Z 0", f"{KSM_TESTS} -Z -p 10 -z 0", "exit"),
    Test("ksm_tests -Z 1", f"{KSM_TESTS} -Z -p 10 -z 1", "exit"),
    Test("ksm_tests -P", f"{KSM_TESTS} -P -s 32", "exit"),
    Test("ksm_tests -H", f"{KSM_TESTS} -H -s 32", "exit"),
    Test("ksm_tests -D", f"{KSM_TESTS} -D -s 32", "exit"),
    Test("ksm_tests -C", f"{KSM_TESTS} -C", "exit"),
    Test("ksm_tests -N 1", f"{KSM_TESTS} -N -m 1", "exit", shape=Shape(nodes=2)),
    Test("ksm_tests -N 0", f"{KSM_TESTS} -N -m 0", "exit", shape=Shape(nodes=2)),
    # It forks with results in its buffer: by lines, or they come twice. Its limits
    # of what reclaim may miss are for a kernel that is not slowed down.
    Test("test_memcontrol", f"{SWAP}stdbuf -oL /mnt/share/cgroup/test_memcontrol",
         kernels=("ksm",), timeout=300, plan=14, expected=MEMCONTROL,
         skips={"test_memcg_sock": "the VM's kernel has no IPv6"}),
    merged("cow", SWAP, timeout=900),
    merged("gup_longterm"),
    merged("madv_populate"),
    merged("mkdirty"),
    merged("mlock2-tests"),
    merged("mremap_dontunmap"),
    # One of its areas is not sure to be free where addresses are random.
    merged("mremap_test", "setarch -R ", shape=Shape(mem="5G")),
    # thousands of walks over the address space, slow on the debug kernel
    merged("pagemap_ioctl", timeout=900),
    merged("soft-dirty", timeout=600),
    *(merged(f"uffd-unit-tests -f {part}", parser="uffd", timeout=400)
      for part in ("wp", "events", "zeropage", "sigbus", "move")),
    # It wants two nodes and threads beside the one that migrates, and has 20 s a test.
    merged("migration", shape=Shape(cpus=4, nodes=2), expected=NO_HUGETLB),
]
