# SPDX-License-Identifier: GPL-2.0
"""What a test's output says: the parsers that judge the tests.

Each takes the output, the exit status and the number of results where the
program does not print it, and gives a list of results. A result that is missing
is a failure, as is a status that contradicts the results.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

SKIPPED = 4             # exit status of a test that cannot run here


class Result(NamedTuple):
    name: str
    verdict: str        # pass, fail or skip
    note: str = ""


LINE = re.compile(r"^( *)(not ok|ok) (\d+)(?: -)? *(.*)$")


def verdict(word: str, text: str) -> str:
    """Of a line of TAP: what its ok is worth beside its directive."""
    if re.search(r"# *SKIP", text, re.I):
        return "skip"
    if word == "ok" or re.search(r"# *XFAIL", text):
        return "pass"
    return "fail"


def parse_tap(output: str, status: int | None, plan: int | None = None) -> list[Result]:
    """ok and not ok at the beginning of lines, as many as planned.

    The kernel tree's tests use one name for many results; the line "# [RUN]" before
    them tells these apart.
    """
    results: list[Result] = []
    part = reason = gave_up = ""
    for line in output.splitlines():
        if line.startswith("Bail out!"):
            gave_up = ": " + line.partition("# Totals:")[0].strip()
        planned = re.match(r"1\.\.(\d+)(.*)$", line)
        if planned:
            plan, reason = int(planned[1]), planned[2].strip(" #")
        run = re.match(r"# \[RUN\] (.+)$", line)
        if run:
            part = run[1].strip()
        found = LINE.match(line)
        if found and not found[1]:
            name, _, directive = found[4].partition("# ")
            why = re.sub(r"^SKIP *", "", directive, flags=re.I)
            results.append(Result(": ".join(filter(None, (part, name.strip()))) or why or found[3],
                                  verdict(found[2], found[4]), why))
    if plan is None:
        if status == SKIPPED and not results:
            return [Result("all", "skip", "not run here")]
        results.append(Result("plan", "fail", f"no plan printed, exit status {status}{gave_up}"))
    elif plan == 0 and not results and status in (0, SKIPPED):
        return [Result("all", "skip", reason)]
    elif plan != len(results):
        results.append(Result("plan", "fail", f"{len(results)} results printed of {plan} planned, "
                                              f"exit status {status}{gave_up}"))
    elif status not in (0, SKIPPED) and all(result.verdict != "fail" for result in results):
        results.append(Result("exit", "fail", f"exit status {status} with all results ok"))
    return results


def parse_exit(output: str, status: int | None, plan: int | None = None) -> list[Result]:
    """One result, the exit status."""
    del plan
    last = (output.strip().splitlines() or [""])[-1]
    if status == SKIPPED:
        return [Result("", "skip", last)]
    if status == 0:
        return [Result("", "pass")]
    return [Result("", "fail", f"exit status {status}: {last}")]


def parse_kunit(output: str, status: int | None, plan: int | None = None) -> list[Result]:
    """Cases are the indented lines; a suite's plan and own line must agree with them.

    Parameters of a case are indented more and have a plan of their own: the case's
    line has the sum of them.
    """
    del plan
    results: list[Result] = []
    leaves: list[tuple[int, str, str]] = []     # indentation, word, text
    plans: list[tuple[int, int]] = []           # indentation, number
    for line in output.splitlines():
        planned = re.match(r"( +)1\.\.(\d+)", line)
        if planned:
            plans.append((len(planned[1]), int(planned[2])))
        found = LINE.match(line)
        if found and found[1]:
            leaves.append((len(found[1]), found[2], found[4]))
        elif found:
            results += kunit_suite(found[4].split(" #")[0], verdict(found[2], found[4]),
                                   leaves, plans)
            leaves, plans = [], []
    if leaves or plans:
        results.append(Result("suites", "fail", "the last suite has no end"))
    if not results:
        results.append(Result("suites", "fail", "no KUnit results in debugfs"))
    elif status != 0:
        results.append(Result("exit", "fail", f"exit status {status}"))
    return results


def kunit_suite(suite: str, said: str, leaves: list[tuple[int, str, str]],
                plans: list[tuple[int, int]]) -> list[Result]:
    top = min((indent for indent, _, _ in leaves), default=0)
    results = [Result(f"{suite}.{text.split(' #')[0]}", verdict(word, text))
               for indent, word, text in leaves if indent == top]
    count, plan = len(results), min(plans)[1] if plans else None
    if plan is None:
        results.append(Result(suite, "fail", "no plan printed"))
    elif plan != count:
        results.append(Result(suite, "fail", f"{count} results of {plan} planned"))
    if said == "fail" and all(result.verdict != "fail" for result in results):
        results.append(Result(suite, "fail", "the suite failed with no case that did"))
    return results


def parse_uffd(output: str, status: int | None, plan: int | None = None) -> list[Result]:
    """uffd-unit-tests: "Testing NAME... done", and a line that has the sums."""
    del plan
    results = []
    for line in output.splitlines():
        found = re.match(r"Testing (.+?)\.\.\. *(done|skipped|failed)?(?: \[reason: (.*)\])?", line)
        if found:
            word = {"done": "pass", "skipped": "skip"}.get(found[2], "fail")
            note = found[3] or ("" if word != "fail" else line[found.end():].strip() or "no result")
            results.append(Result(found[1], word, note))
    sums = re.search(r"^Userfaults unit tests: pass=(\d+), skip=(\d+), fail=(\d+) \(total=(\d+)\)",
                     output, re.M)
    counted = [sum(result.verdict == word for result in results)
               for word in ("pass", "skip", "fail")] + [len(results)]
    if not sums and status == 1 and results and results[-1].note.startswith("ERROR: "):
        return results      # its err(): that result is the failure, and ends it
    if not sums:
        results.append(Result("plan", "fail", f"no sum printed, exit status {status}"))
    elif counted != [int(number) for number in sums.groups()]:
        results.append(Result("plan", "fail", f"{counted} results printed, the sum says "
                                              f"{[int(number) for number in sums.groups()]}"))
    elif status not in (0, SKIPPED) and not counted[2]:
        results.append(Result("exit", "fail", f"exit status {status} with all results ok"))
    return results


PARSERS: dict[str, Callable[[str, int | None, int | None], list[Result]]] = {
    "tap": parse_tap, "exit": parse_exit, "kunit": parse_kunit, "uffd": parse_uffd}
