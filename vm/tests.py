# SPDX-License-Identifier: GPL-2.0
"""What make check runs: one row a program.

Columns: name; command (bash, as root, in a scratch directory; the tests are
below /mnt/share); parser; and options:
  kernels   which kernels it runs on, default both of ours
  mem, cpus, nodes, append   the machine; rows with the same machine share a boot
  timeout   seconds, on the plain kernel; the debug kernel gets three times that
  plan      how many results, for a program that does not print it
  expected  {result: reason}: failures that are not ours, counted as skipped
  skips     {result: reason}: why it skips itself, where it does not say

Parsers: "tap" reads ok/not ok and compares their number with the plan, "exit"
takes the exit status (4 is a skip), "kunit" reads what debugfs has kept.

Rows of selftests/ksm_cgroup (every TEST_GEN_PROGS) and of selftests/userland
(every *.sh, settings in its "# key: value" lines) are added by vm/check.py.
"""

KSM_TESTS = "cd /mnt/share/mm && ./ksm_tests"
# Not of our making: it fails on the stock kernel in this VM as well.
MEMCONTROL = {"test_memcg_low": "fails on the stock kernel as well"}
SWAP = ("zram=$(zramctl -f -s 512M) && mkswap -q $zram && swapon $zram && trap "
        "'swapoff $zram; echo 1 >/sys/block/${zram##*/}/reset' EXIT; ")

TESTS = [
    ("kunit", "cat /sys/kernel/debug/kunit/*/results", "kunit", {}),
    ("ksm_functional_tests", "cd /mnt/share/mm && ./ksm_functional_tests", "tap", {}),
    ("ksm_tests -M", KSM_TESTS + " -M -p 10", "exit", {}),
    ("ksm_tests -M prctl", KSM_TESTS + " -M -p 10 -t 1", "exit", {}),
    ("ksm_tests -U", KSM_TESTS + " -U", "exit", {}),
    ("ksm_tests -Z 0", KSM_TESTS + " -Z -p 10 -z 0", "exit", {}),
    ("ksm_tests -Z 1", KSM_TESTS + " -Z -p 10 -z 1", "exit", {}),
    ("ksm_tests -P", KSM_TESTS + " -P -s 32", "exit", {}),
    ("ksm_tests -H", KSM_TESTS + " -H -s 32", "exit", {}),
    ("ksm_tests -D", KSM_TESTS + " -D -s 32", "exit", {}),
    ("ksm_tests -C", KSM_TESTS + " -C", "exit", {}),
    ("ksm_tests -N 1", KSM_TESTS + " -N -m 1", "exit", {"nodes": 2}),
    ("ksm_tests -N 0", KSM_TESTS + " -N -m 0", "exit", {"nodes": 2}),
    # It forks with results in its buffer: by lines, or they come twice. Its limits
    # of what reclaim may miss are for a kernel that is not slowed down.
    ("test_memcontrol", SWAP + "stdbuf -oL /mnt/share/cgroup/test_memcontrol", "tap",
     {"expected": MEMCONTROL, "skips": {"test_memcg_sock": "the VM's kernel has no IPv6"},
      "plan": 14, "timeout": 300, "kernels": ("ksm",)}),
]
