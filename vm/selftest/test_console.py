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
