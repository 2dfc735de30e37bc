# SPDX-License-Identifier: GPL-2.0
"""The parsers, on output that was recorded in the VM and on what could come instead."""
from __future__ import annotations

import unittest
from collections import Counter
from pathlib import Path

from results import Result, parse_exit, parse_kunit, parse_tap, parse_uffd

RECORDED = Path(__file__).resolve().parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.log").read_text()


def count(results: list[Result]) -> dict[str, int]:
    return dict(Counter(result.verdict for result in results))


def failures(results: list[Result]) -> list[tuple[str, str]]:
    return [(result.name, result.note) for result in results if result.verdict == "fail"]


class Tap(unittest.TestCase):
    def test_passed(self) -> None:
        found = parse_tap(recorded("tap-passed"), 0)
        self.assertEqual(count(found), {"pass": 9})
        self.assertEqual(found[1].name,
                         "test_unmerge_zero_pages: KSM zero pages were unmerged")

    def test_status_contradicts(self) -> None:
        self.assertEqual(failures(parse_tap(recorded("tap-passed"), 1)),
                         [("exit", "exit status 1 with all results ok")])
        self.assertEqual(failures(parse_tap(recorded("tap-passed"), None)),
                         [("exit", "exit status None with all results ok")])

    def test_result_lost(self) -> None:
        output = recorded("tap-passed").replace("ok 4 Pages were unmerged\n", "")
        self.assertEqual(failures(parse_tap(output, 0)),
                         [("plan", "8 results printed of 9 planned, exit status 0")])

    def test_result_twice(self) -> None:
        """As after a fork with results in the buffer."""
        output = recorded("tap-passed").replace("ok 4 Pages were unmerged\n",
                                                "ok 4 Pages were unmerged\n" * 2)
        self.assertEqual(failures(parse_tap(output, 0)),
                         [("plan", "10 results printed of 9 planned, exit status 0")])

    def test_failed(self) -> None:
        found = parse_tap(recorded("tap-failed"), 1)
        self.assertEqual(count(found), {"pass": 16, "fail": 8, "skip": 16})
        self.assertEqual(failures(found)[0],
                         ("R/W longterm GUP pin in MAP_SHARED file mapping ... with local tmpfile: "
                          "mkstemp() failed", ""))
        self.assertIn(Result("R/W longterm GUP pin in MAP_SHARED file mapping ... with memfd "
                             "hugetlb (2048 kB)", "skip", "need more free huge pages"), found)

    def test_failure_with_status_0(self) -> None:
        self.assertEqual(count(parse_tap(recorded("tap-failed"), 0))["fail"], 8)

    def test_cut_off(self) -> None:
        found = parse_tap(recorded("tap-cut-off"), 1)
        self.assertEqual(count(found), {"pass": 10, "skip": 1, "fail": 1})
        self.assertEqual(failures(found),
                         [("plan", "11 results printed of 15 planned, exit status 1")])

    def test_gave_up(self) -> None:
        """What the program says of why it ends early stands in the note."""
        self.assertEqual(failures(parse_tap(recorded("tap-gave-up"), 1)),
                         [("plan", "3 results printed of 670 planned, exit status 1: Bail out! read "
                                   "and ioctl return unmatched results for swap: 1 0")])

    def test_no_plan(self) -> None:
        """It ended at once, and with status 0."""
        self.assertEqual(parse_tap(recorded("tap-no-plan"), 0),
                         [Result("plan", "fail", "no plan printed, exit status 0")])
        self.assertEqual(parse_tap(recorded("tap-no-plan"), 4),
                         [Result("all", "skip", "not run here")])
        self.assertEqual(failures(parse_tap("not ok 1 one\n", 4)),
                         [("one", ""), ("plan", "no plan printed, exit status 4")])

    def test_plan_of_the_table(self) -> None:
        self.assertEqual(count(parse_tap("ok 1 one\nok 2 two\n", 0, 2)), {"pass": 2})
        self.assertEqual(count(parse_tap("ok 1 one\n", 0, 2)), {"pass": 1, "fail": 1})

    def test_skip_all(self) -> None:
        for status in (0, 4):
            self.assertEqual(parse_tap("TAP version 13\n1..0 # SKIP no swap\n", status),
                             [Result("all", "skip", "SKIP no swap")])
        self.assertEqual(count(parse_tap("1..0 # SKIP no swap\n", 139)), {"fail": 1})
        self.assertIn(("one", ""), failures(parse_tap("not ok 1 one\n1..0\n", 0)))

    def test_directives(self) -> None:
        self.assertEqual(parse_tap("1..4\nok 1 # SKIP one\nok 2 two # skip no swap\n"
                                   "not ok 3 three # XFAIL known\nnot ok 4 - four # TODO\n", 1),
                         [Result("one", "skip", "one"), Result("two", "skip", "no swap"),
                          Result("three", "pass", "XFAIL known"), Result("four", "fail", "TODO")])

    def test_only_lines_of_its_own(self) -> None:
        """Neither those of a subtest nor what looks like one."""
        output = "1..1\n    ok 1 a\n    not ok 2 b\nok it is\nok 1 c\n"
        self.assertEqual(count(parse_tap(output, 0)), {"pass": 1})

    def test_nothing(self) -> None:
        self.assertEqual(count(parse_tap("", 0)), {"fail": 1})


class Exit(unittest.TestCase):
    def test_status(self) -> None:
        output = "some\nlast line\n"
        self.assertEqual(parse_exit(output, 0), [Result("", "pass")])
        self.assertEqual(parse_exit(output, 4), [Result("", "skip", "last line")])
        self.assertEqual(parse_exit(output, 1), [Result("", "fail", "exit status 1: last line")])
        self.assertEqual(parse_exit("", None), [Result("", "fail", "exit status None: ")])

    def test_what_is_printed_does_not_count(self) -> None:
        self.assertEqual(parse_exit("OK\n", 139)[0].verdict, "fail")
        self.assertEqual(parse_exit("not ok 1 one\n", 0)[0].verdict, "pass")


class KUnit(unittest.TestCase):
    def test_passed(self) -> None:
        found = parse_kunit(recorded("kunit-passed"), 0)
        self.assertEqual(count(found), {"pass": 10})
        self.assertEqual(found[0].name, "ksm-advisor.ksm_advisor_test_target")
        self.assertEqual(found[-1].name, "ksm-index.ksm_index_test_rounds")

    def test_skips_and_parameters(self) -> None:
        """A case with parameters is one result, whatever their number."""
        found = parse_kunit(recorded("kunit-example"), 0)
        self.assertEqual(count(found), {"pass": 8, "skip": 2})
        self.assertIn(Result("example.example_params_test", "pass"), found)

    def test_plan_of_parameters(self) -> None:
        """It is not the suite's."""
        output = recorded("kunit-example").replace(
            "        # Subtest: example_params_test\n",
            "        # Subtest: example_params_test\n        1..12\n")
        self.assertEqual(count(parse_kunit(output, 0)), {"pass": 8, "skip": 2})

    def test_case_failed(self) -> None:
        output = recorded("kunit-passed").replace("    ok 2 ksm_index_test_apart",
                                                  "    not ok 2 ksm_index_test_apart")
        self.assertEqual(failures(parse_kunit(output, 0)),
                         [("ksm-index.ksm_index_test_apart", "")])

    def test_case_lost(self) -> None:
        output = recorded("kunit-passed").replace("    ok 2 ksm_index_test_apart\n", "")
        self.assertEqual(failures(parse_kunit(output, 0)),
                         [("ksm-index", "3 results of 4 planned")])

    def test_suite_failed(self) -> None:
        """With no case that did, as where its init fails."""
        output = recorded("kunit-passed").replace("\nok 1 ksm-index", "\nnot ok 1 ksm-index")
        self.assertEqual(failures(parse_kunit(output, 0)),
                         [("ksm-index", "the suite failed with no case that did")])

    def test_suite_cut_off(self) -> None:
        output = recorded("kunit-passed").replace("\nok 1 ksm-index", "")
        self.assertEqual(failures(parse_kunit(output, 0)),
                         [("suites", "the last suite has no end")])

    def test_no_plan(self) -> None:
        output = recorded("kunit-passed").replace("    1..4\n", "")
        self.assertEqual(failures(parse_kunit(output, 0)), [("ksm-index", "no plan printed")])

    def test_cat_failed(self) -> None:
        self.assertEqual(failures(parse_kunit(recorded("kunit-passed"), 1)),
                         [("exit", "exit status 1")])
        self.assertEqual(failures(parse_kunit("cat: results: No such file or directory\n", 1)),
                         [("suites", "no KUnit results in debugfs")])

    def test_nothing(self) -> None:
        self.assertEqual(count(parse_kunit("", 0)), {"fail": 1})


class Uffd(unittest.TestCase):
    def test_skipped(self) -> None:
        found = parse_uffd(recorded("uffd-skipped"), 0)
        self.assertEqual(count(found), {"skip": 33})
        self.assertEqual(found[0], Result("wp-fork on anon", "skip", "feature missing"))

    def test_passed(self) -> None:
        self.assertEqual(count(parse_uffd(recorded("uffd-passed"), 0)), {"pass": 3, "skip": 2})

    def test_cut_off(self) -> None:
        """The time ran out."""
        found = parse_uffd(recorded("uffd-cut-off"), 124)
        self.assertEqual(count(found), {"pass": 2, "fail": 2})
        self.assertEqual(failures(found), [("events on shmem-private", "no result"),
                                           ("plan", "no sum printed, exit status 124")])

    def test_sum_contradicts(self) -> None:
        output = recorded("uffd-skipped").replace(
            "Testing wp-fork on shmem... skipped [reason: feature missing]\n", "")
        self.assertEqual(failures(parse_uffd(output, 0)),
                         [("plan", "[0, 32, 0, 32] results printed, the sum says [0, 33, 0, 33]")])

    def test_failed(self) -> None:
        output = ("Testing move on anon... failed [reason: stats check error]\n"
                  "Userfaults unit tests: pass=0, skip=0, fail=1 (total=1)\n")
        self.assertEqual(failures(parse_uffd(output, 1)),
                         [("move on anon", "stats check error")])

    def test_gave_up(self) -> None:
        """Its err() ends it; a signal that does leaves more unsaid."""
        output = recorded("uffd-gave-up")
        error = ("move on anon", "ERROR: UFFDIO_MOVE error: -16 (errno=16, @uffd-common.c:651)")
        self.assertEqual(failures(parse_uffd(output, 1)), [error])
        self.assertEqual(failures(parse_uffd(output, 139)),
                         [error, ("plan", "no sum printed, exit status 139")])

    def test_status_contradicts(self) -> None:
        self.assertEqual(failures(parse_uffd(recorded("uffd-skipped"), 139)),
                         [("exit", "exit status 139 with all results ok")])
