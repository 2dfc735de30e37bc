# SPDX-License-Identifier: GPL-2.0
"""What on the console is trouble, in logs that were recorded in the VM."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from console import Console, is_fatal, is_trouble

RECORDED = Path(__file__).resolve().parent / "recorded"


def read(name: str) -> Console:
    console = Console(RECORDED / f"{name}.log")
    console.poll()
    return console


class OwnFaults(unittest.TestCase):
    """A program's fault is its own, whatever it calls itself."""

    def test_no_trouble(self) -> None:
        console = read("console-own-faults")
        self.assertEqual(console.troubles(), [])
        self.assertIsNone(console.fatal)

    def test_all_kinds_are_recorded(self) -> None:
        lines = read("console-own-faults").lines
        for kind in ("general protection fault ip:", "trap invalid opcode ip:", "trap int3 ip:",
                     "segfault at 10 ip ", "BUG: my prog[", "Oops: [#1]["):
            self.assertTrue(any(kind in line for line in lines), kind)

    def test_kernel_in_the_same_words(self) -> None:
        for line in ("general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
                     "traps: PANIC: double fault, error_code: 0x0",
                     "Oops: general protection fault: 0000 [#1] PREEMPT SMP",
                     "BUG: x traps: fault[160] general protection fault ip:1 sp:1 error:0"):
            self.assertTrue(is_trouble(line), line)
        self.assertTrue(is_fatal("Oops: general protection fault: 0000 [#1] PREEMPT SMP"))


class Reports(unittest.TestCase):
    """Warnings, oopses and a panic that LKDTM provoked; a command each, one without any."""

    def setUp(self) -> None:
        self.console = read("console-reports")

    def test_each_is_found_once(self) -> None:
        self.assertEqual(
            [(self.console.lines[index], tag) for index, tag in self.console.reports],
            [("WARNING: CPU: 0 PID: 378 at lkdtm_WARNING+0xa/0x10", 2),
             ("WARNING: CPU: 1 PID: 380 at lkdtm_WARNING_MESSAGE+0x1b/0x20", 3),
             ("BUG: kernel NULL pointer dereference, address: 0000000000000000", 5),
             ("Kernel BUG at lkdtm_ARRAY_BOUNDS+0x140/0x140 [verbose debug info unavailable]", 6),
             ("Kernel panic - not syncing: dumptest", 7)])

    def test_only_those_since(self) -> None:
        self.assertEqual([line for line, _ in self.console.troubles(4)],
                         ["Kernel panic - not syncing: dumptest"])

    def test_excerpt(self) -> None:
        """From shortly before it to its end, and no further."""
        text = self.console.troubles()[0][1].splitlines()
        self.assertEqual(text[0], "lkdtm: Performing direct entry WARNING")
        self.assertEqual(text[-1], "---[ end trace 0000000000000000 ]---")
        self.assertIn(" lkdtm_do_action+0x10/0x20", text)

    def fatal_after(self, number: int) -> bool:
        """Whether the kernel counts as dead when this command has ended."""
        console = Console(Path("/nonexistent"))
        for line in self.console.lines:
            console.take(line.encode())
            if line == f"vm: end {number}":
                break
        return console.fatal is not None

    def test_what_is_survived(self) -> None:
        self.assertFalse(self.fatal_after(3))
        self.assertFalse(self.fatal_after(4))
        self.assertTrue(self.fatal_after(5))

    def test_fatal(self) -> None:
        for words in ("Oops: Oops: 0002 [#1]", "Oops: invalid opcode", "Kernel BUG at ",
                      "Kernel panic - "):
            lines = [line for line in self.console.lines if line.startswith(words)]
            self.assertEqual([is_fatal(line) for line in lines], [True], words)


class Words(unittest.TestCase):
    """Reports of the debug kernel, in the words of the kernel's format strings."""

    def test_reports(self) -> None:
        for line in ("BUG: KASAN: slab-use-after-free in ksm_do_scan+0x1/0x2",
                     "WARNING: possible circular locking dependency detected",
                     "WARNING: possible recursive locking detected",
                     "WARNING: suspicious RCU usage",
                     "BUG: sleeping function called from invalid context at mm/ksm/merge.c:1",
                     "INFO: task ksmd:30 blocked for more than 120 seconds.",
                     "INFO: trying to register non-static key.",
                     "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                     "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [ksmd:30]",
                     "refcount_t: underflow; use-after-free.",
                     "list_add corruption. prev is NULL.",
                     "UBSAN: array-index-out-of-bounds in mm/ksm/walk.c:1:1",
                     "BUG: Bad page state in process ksmd  pfn:00001",
                     "BUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:1"):
            self.assertTrue(is_trouble(line), line)
            self.assertFalse(is_fatal(line), line)

    def test_not_of_the_kernel(self) -> None:
        for line in ("Out of memory: Killed process 1 (x) total-vm:1kB",
                     "Memory cgroup out of memory: Killed process 1 (x)",
                     "systemd[1]: a.service: WARNING is its name", "kunit: disabled"):
            self.assertFalse(is_trouble(line), line)


class Reading(unittest.TestCase):
    """The log is read as it grows."""

    def test_cut_anywhere(self) -> None:
        data = (RECORDED / "console-own-faults.log").read_bytes()
        whole = read("console-own-faults").lines
        for size in (1, 7, 100):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "log")
                console = Console(path)
                console.poll()      # there is none yet
                with path.open("ab", buffering=0) as stream:
                    for start in range(0, len(data), size):
                        stream.write(data[start:start + size])
                        console.poll()
            self.assertEqual(console.lines, whole)

    def test_marks(self) -> None:
        console = read("console-own-faults")
        self.assertTrue(console.ended(1))
        self.assertFalse(console.ended(2))
        self.assertEqual(console.tag, "after 1")

    def test_stamps_go(self) -> None:
        console = Console(Path("/nonexistent"))
        for stamp in ("", "[    1.250000] ", "[    1.250000][   T12] ", "[12345.250000][    C1] "):
            console.take(f"{stamp}vm: begin 1\r".encode())
        self.assertEqual(console.lines, ["vm: begin 1"] * 4)
