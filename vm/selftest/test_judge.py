# SPDX-License-Identifier: GPL-2.0
"""Verdicts: what a run is worth beside the machine that it ran on."""
from __future__ import annotations

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import check
from machine import Outcome, Tail
from results import Result
from tests import Known, Shape, Test

PASSES = "TAP version 13\n1..2\nok 1 one\nok 2 two\n"
FAILS = "TAP version 13\n1..2\nok 1 one\nnot ok 2 two\n"
WARNING = ("WARNING: CPU: 0 PID: 1 at mm/ksm/merge.c:1", "the whole\nof it")


def verdicts(test: Test, output: str, outcome: Outcome) -> list[tuple[str, str]]:
    return [(result.name, result.verdict) for result in check.verdicts(test, output, outcome)]


class Verdicts(unittest.TestCase):
    test = Test("some", "true")

    def test_nothing_wrong(self) -> None:
        self.assertEqual(verdicts(self.test, PASSES, Outcome(0)),
                         [("one", "pass"), ("two", "pass")])

    def test_kernel_complained(self) -> None:
        """Whatever the test printed."""
        found = check.verdicts(self.test, PASSES, Outcome(0, trouble=[WARNING]))
        self.assertEqual(found[-1], Result("kernel log", "fail", WARNING[0]))

    def test_machine_went_away(self) -> None:
        self.assertIn(Result("machine", "fail", "the VM went away"),
                      check.verdicts(self.test, PASSES, Outcome()))

    def test_machine_hangs(self) -> None:
        self.assertIn(Result("machine", "fail", "the time ran out"),
                      check.verdicts(self.test, PASSES, Outcome(None, timeout=True)))

    def test_time_ran_out(self) -> None:
        self.assertIn(("time", "fail"),
                      verdicts(self.test, PASSES, Outcome(124, timeout=True)))

    def test_no_output(self) -> None:
        self.assertIn("fail", [word for _, word in verdicts(self.test, "", Outcome(0))])

    def test_expected_failure_is_a_skip(self) -> None:
        test = Test("some", "true", expected={"two": Known("fails on stock")})
        self.assertEqual(check.verdicts(test, FAILS, Outcome(1))[1],
                         Result("two", "skip", "expected: fails on stock"))

    def test_other_failures_stay(self) -> None:
        test = Test("some", "true", expected={"one": Known("fails on stock")})
        self.assertEqual(verdicts(test, FAILS, Outcome(1)), [("one", "pass"), ("two", "fail")])

    def test_expected_with_a_note(self) -> None:
        """Only the failure that is known: another one of that result stays."""
        output = "1..1\nnot ok 1 two # error -16 at x\n"
        for note, word in (("error -16 ", "skip"), ("error -1 ", "fail")):
            test = Test("some", "true", expected={"two": Known("fails on stock", note)})
            self.assertEqual(verdicts(test, output, Outcome(1)), [("two", word)], note)

    def test_expected_does_not_excuse_the_kernel(self) -> None:
        test = Test("some", "true", expected={"two": Known("fails on stock")})
        self.assertIn(("kernel log", "fail"),
                      verdicts(test, FAILS, Outcome(1, trouble=[WARNING])))

    def test_skip_is_given_its_reason(self) -> None:
        test = Test("some", "true", skips={"two": "no IPv6"})
        found = check.verdicts(test, "1..2\nok 1 one\nok 2 two # SKIP\n", Outcome(0))
        self.assertEqual(found[1], Result("two", "skip", "no IPv6"))


class Counting(unittest.TestCase):
    def judged(self, test: Test, output: str, outcome: Outcome) -> tuple[check.Count, str]:
        count, said = check.Count(), io.StringIO()
        with contextlib.redirect_stdout(said):
            check.judge(test, "ksm", output, outcome, count, 1.0)
        return count, said.getvalue()

    def test_success(self) -> None:
        count, said = self.judged(Test("some", "true"), PASSES, Outcome(0))
        self.assertEqual(count.summary(), "2 passed, 0 failed, 0 skipped")
        self.assertEqual(count.status(), 0)
        self.assertTrue(said.startswith("  ok   ksm/some "), said)

    def test_failure(self) -> None:
        count, said = self.judged(Test("some", "true"), FAILS, Outcome(1, trouble=[WARNING]))
        self.assertEqual(count.summary(), "1 passed, 2 failed, 0 skipped")
        self.assertEqual(count.status(), 1)
        self.assertEqual(count.failures, ["ksm/some two", f"ksm/some kernel log: {WARNING[0]}"])
        self.assertTrue(said.startswith("  FAIL ksm/some "), said)
        self.assertIn("      | not ok 2 two\n", said)
        self.assertIn("      > the whole\n      > of it\n", said)

    def test_skips_are_named_unless_many(self) -> None:
        few = "".join(f"ok {number} {number} # SKIP no swap\n" for number in range(1, 4))
        many = "".join(f"ok {number} {number} # SKIP no pages\n" for number in range(4, 9))
        count, said = self.judged(Test("some", "true"), f"1..8\n{few}{many}", Outcome(0))
        self.assertEqual(count.skipped, 8)
        self.assertEqual(said.count("no swap"), 3)
        self.assertEqual(said.splitlines()[-1], "      skip 5 results: no pages")

    def test_skips_alone_are_no_success(self) -> None:
        count, _ = self.judged(Test("some", "true"), "1..0 # SKIP not here\n", Outcome(4))
        self.assertEqual(count.summary(), "0 passed, 0 failed, 1 skipped")
        self.assertEqual(count.status(), 1)


class Table(unittest.TestCase):
    def words(self, text: str, c_file: bool) -> dict[str, str]:
        with tempfile.NamedTemporaryFile("w", suffix=".c" if c_file else ".sh") as stream:
            stream.write(text)
            stream.flush()
            path = Path(stream.name)
            return check.c_words(path) if c_file else check.shell_words(path)

    def test_words_of_a_script(self) -> None:
        text = ("#!/bin/bash\n# kernel: ksm\n# mem: 1G\n# append: a=1 b\n#\n# text: no\n\n"
                "# cpus: 9\n")
        self.assertEqual(self.words(text, False),
                         {"kernels": "ksm", "mem": "1G", "append": "a=1 b"})

    def test_words_of_a_program(self) -> None:
        text = "/*\n * Says something.\n *\n * vm: nodes=2 append=movablecore=768M\n */\n"
        self.assertEqual(self.words(text, True), {"nodes": "2", "append": "movablecore=768M"})

    def test_options(self) -> None:
        found = check.options({"kernels": "ksm, debug", "nodes": "2", "timeout": "9"})
        self.assertEqual(found, {"kernels": ("ksm", "debug"), "timeout": 9,
                                 "shape": Shape(nodes=2)})
        self.assertEqual(check.options({}, timeout=300), {"timeout": 300, "shape": Shape()})


class TailOfOutput(unittest.TestCase):
    """The token ends a command's output, however it is cut on its way."""

    token = b"aab0"

    def taken(self, data: bytes, size: int) -> tuple[bytes, bool]:
        out: list[bytes] = []
        tail = Tail(self.token, out.append)
        for start in range(0, len(data), size):
            tail.take(data[start:start + size])
        tail.flush()
        return b"".join(out), tail.ended

    def test_cut_anywhere(self) -> None:
        for size in range(1, 9):
            self.assertEqual(self.taken(b"a aa aaab0", size), (b"a aa a", True), size)

    def test_nothing_is_lost_without_it(self) -> None:
        for size in range(1, 9):
            self.assertEqual(self.taken(b"a aaba aab", size), (b"a aaba aab", False), size)

    def test_passed_on_at_once(self) -> None:
        out: list[bytes] = []
        Tail(self.token, out.append).take(b"hello aa")
        self.assertEqual(out, [b"hello "])
