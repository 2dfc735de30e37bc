#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run the tests in the VM and count.

Environment: ONLY='pattern ...' (each part of "kernel/name", * and ? allowed),
KERNEL=name for one kernel only. A test whose time the kernel spent complaining on its
console has failed, whatever it printed. Outputs: build/log/check/.
"""
from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import BUILD, LOG, TOP
from machine import Machine, Outcome, VMError
from results import PARSERS, Result
from tests import KERNELS, TESTS, Shape, Test

SHARE = BUILD / "share"
LOGS = LOG / "check"
SLOWER = {"debug": 6, "stock-debug": 6}
BOUND = 120             # seconds until a wait of a test of selftests/ counts as a hang
FEW = 3                 # skips for one reason that are named
BOOTS = 13              # of one machine, until its tests are given up
# Merging begins while nothing else runs: the engine patches the kernel then, and the
# emulator may fail that beside programs that exit (vm/int3.py). Tests of that very
# moment have a machine whose command line says "fresh".
BEGIN = """cd /sys/kernel/mm/ksm && echo 1 >run
/mnt/share/ksm_cgroup/ksm_launch sleep 600 &
until [ "$(cat full_scans)" -gt 0 ]; do sleep 0.1; done
kill $! && wait; echo 0 >run"""

# -- the table


def options(words: dict[str, str], timeout: int = 180) -> dict[str, Any]:
    """A test's settings from the words at the head of its source."""
    result: dict[str, Any] = {"timeout": timeout}
    shape: dict[str, Any] = {}
    for key, value in words.items():
        if key == "kernels":
            result[key] = tuple(re.split(r"[ ,]+", value))
        elif key == "timeout":
            result[key] = int(value)
        elif key in ("cpus", "nodes"):
            shape[key] = int(value)
        elif key in ("mem", "append"):
            shape[key] = value
    return {**result, "shape": Shape(**shape)}


def shell_words(path: Path) -> dict[str, str]:
    """The "# key: value" lines at the head of a userland test."""
    result = {}
    for line in path.read_text().splitlines():
        found = re.match(r"# (kernels?|mem|cpus|nodes|append|timeout): *(.+)", line)
        if found:
            result["kernels" if found[1] == "kernel" else found[1]] = found[2].strip()
        elif not line.startswith("#"):
            break
    return result


def c_words(path: Path) -> dict[str, str]:
    """The same from " * vm: key=value key=value" in a C file's comments."""
    if not path.exists():
        return {}
    lines = re.findall(r"^ \* vm: (.*)", path.read_text(), re.M)
    return dict(word.partition("=")[::2] for line in lines for word in line.split())


def programs() -> list[str]:
    path = SHARE / "ksm_cgroup.programs"
    return path.read_text().split() if path.exists() else []


def executables(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if os.access(path, os.X_OK):
            yield path


def table() -> list[Test]:
    tests = list(TESTS)
    for path in executables(SHARE / "ksm_cgroup"):
        if path.name in programs():
            words = c_words(TOP / "selftests" / f"{path.name}.c")
            tests.append(Test(path.name, f"cd /mnt/share/ksm_cgroup && ./{path.name}",
                              **options(words)))
    for path in executables(TOP / "selftests" / "userland"):
        if path.suffix == ".sh":
            tests.append(Test(f"userland/{path.stem}",
                              f"cd /mnt/share/userland && ./{path.name}",
                              **options(shell_words(path), timeout=300)))
    return tests


# -- judging


class Count:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.failures: list[str] = []

    def add(self, label: str, result: Result) -> None:
        if result.verdict == "pass":
            self.passed += 1
        elif result.verdict == "skip":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append(f"{label} {result.name}".rstrip() +
                                 (f": {result.note}" if result.note else ""))

    def summary(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def status(self) -> int:
        """Of the whole run: nothing that ran is no success."""
        return 1 if self.failed or not self.passed else 0


def verdicts(test: Test, output: str, outcome: Outcome) -> list[Result]:
    """All that a run of a test says, with what is known of it taken into account."""
    results = PARSERS[test.parser](output, outcome.status, test.plan)
    if outcome.status is None:
        results.append(Result("machine", "fail", "the time ran out" if outcome.timeout
                              else "the VM went away"))
    elif outcome.timeout:
        results.append(Result("time", "fail", "did not end within its time"))
    if outcome.trouble:
        results.append(Result("kernel log", "fail", outcome.trouble[0][0]))
    return [excused(test, result) for result in results]


def excused(test: Test, result: Result) -> Result:
    known = test.expected.get(result.name)
    if result.verdict == "fail" and known and known.note in result.note:
        return Result(result.name, "skip", f"expected: {known.reason}")
    if result.verdict == "skip":
        return result._replace(note=test.skips.get(result.name, result.note))
    return result


def unusual(results: list[Result]) -> str:
    """Failures and skips; skips as a number where many have the same reason."""
    alike = Counter(result.note for result in results if result.verdict == "skip")
    lines = [f"{result.verdict} {result.name}{': ' + result.note if result.note else ''}"
             for result in results if result.verdict == "fail" or
             result.verdict == "skip" and alike[result.note] <= FEW]
    lines += [f"skip {number} results: {note}" for note, number in alike.items() if number > FEW]
    return indented("", "\n".join(lines))


def indented(mark: str, text: str) -> str:
    return "".join(f"      {mark}{line}\n" for line in text.splitlines())


def judge(test: Test, kernel: str, output: str, outcome: Outcome, count: Count,
          took: float) -> None:
    label = f"{kernel}/{test.name}"
    results = verdicts(test, output, outcome)
    numbers = {"pass": 0, "fail": 0, "skip": 0}
    for result in results:
        numbers[result.verdict] += 1
        count.add(label, result)
    print(f"  {'FAIL' if numbers['fail'] else 'ok':4} {label:40} {numbers['pass']:3} passed "
          f"{numbers['fail']:3} failed {numbers['skip']:3} skipped  {took:5.1f} s")
    print(unusual(results), end="")
    if numbers["fail"]:
        print(indented("| ", "\n".join(output.splitlines()[-15:])), end="")
        for _, text in outcome.trouble:
            print(indented("> ", text), end="")
    sys.stdout.flush()


# -- running


def begin_merging(vm: Machine, kernel: str, count: Count) -> None:
    outcome = vm.run(BEGIN, BOUND * SLOWER.get(kernel, 1))
    if outcome.trouble or outcome.status != 0:
        text = outcome.trouble[0][0] if outcome.trouble else "merging does not begin"
        count.add(f"{kernel}/begin", Result("", "fail", text))
        print(indented("> ", text), end="", flush=True)


def run_group(kernel: str, shape: Shape, tests: list[Test], count: Count) -> None:
    """The tests of one machine; one that took it down costs another boot."""
    pending = list(tests)
    for boot in range(1, BOOTS + 1):
        if not pending:
            return
        extra = "-" + re.sub(r"\W+", "_", shape.append) if shape.append else ""
        log = LOGS / f"console-{kernel}-{shape.mem}-{shape.nodes}node{extra}-{boot}.log"
        start = time.monotonic()
        try:
            with Machine(kernel, mem=shape.mem, cpus=shape.cpus, nodes=shape.nodes, share=SHARE,
                         log=log, append=f"kunit.enable=1 {shape.append}",
                         boot_timeout=240 * SLOWER.get(kernel, 1)) as vm:
                print(f"-- {kernel} kernel, {vm.accel}, {shape.mem}, {shape.cpus} cpus, "
                      f"{shape.nodes} nodes {shape.append}: up after "
                      f"{time.monotonic() - start:.0f} s", flush=True)
                trouble = vm.troubles()
                if trouble:
                    count.add(f"{kernel}/boot", Result("", "fail", trouble[0][0]))
                for _, text in trouble:
                    print(indented("> ", text), end="", flush=True)
                if "fresh" not in shape.append:
                    begin_merging(vm, kernel, count)
                while pending and vm.alive:
                    run_one(vm, kernel, pending.pop(0), count)
        except VMError as error:
            print(indented("", str(error)), end="", flush=True)
            if pending:
                judge(pending.pop(0), kernel, "", Outcome(), count, time.monotonic() - start)
    for test in pending:
        judge(test, kernel, "", Outcome(), count, 0)


def run_one(vm: Machine, kernel: str, test: Test, count: Count) -> None:
    start = time.monotonic()
    chunks: list[bytes] = []
    slower = SLOWER.get(kernel, 1)
    # On the disk: pages of a tmpfs are no page cache that could be reclaimed.
    script = (f'export KSM_BOUND={BOUND * slower}\n'
              'scratch=$(mktemp -d -p /var/tmp) && cd "$scratch" || exit 99\n'
              f'(\n{test.command}\n)\n'
              'status=$?\ncd / && rm -rf "$scratch"\nexit $status')
    outcome = vm.run(script, test.timeout * slower, chunks.append, chunks.append)
    output = b"".join(chunks).decode(errors="replace")
    name = re.sub(r"\W+", "_", f"{kernel}-{test.name}")
    console = "".join(f"\n--- console\n{text}\n" for _, text in outcome.trouble)
    (LOGS / f"{name}.log").write_text(output + console)
    judge(test, kernel, output, outcome, count, time.monotonic() - start)


def wanted(kernels: tuple[str, ...], only: list[str]) -> dict[tuple[str, Shape], list[Test]]:
    """Kernel and machine -> tests."""
    groups: dict[tuple[str, Shape], list[Test]] = {}
    for test in table():
        for kernel in kernels:
            if (kernel in test.kernels or kernel.startswith("stock")) and any(
                    fnmatch.fnmatch(f"{kernel}/{test.name}", f"*{word}*") for word in only):
                groups.setdefault((kernel, test.shape), []).append(test)
    return groups


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true",
                        help="show each test and the machine that it runs on")
    arguments = parser.parse_args()
    kernel, only = os.environ.get("KERNEL"), os.environ.get("ONLY") or "*"
    groups = wanted((kernel,) if kernel else KERNELS, only.split())
    if arguments.list:
        for (name, shape), tests in groups.items():
            for test in tests:
                print(f"{name}/{test.name}", *dataclasses.astuple(shape))
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    start, count = time.monotonic(), Count()
    for (name, shape), tests in groups.items():
        run_group(name, shape, tests, count)
    if not groups:
        print(f"no test matches ONLY={only}: vm/check.py --list shows all")
        return 1
    for text in count.failures:
        print(f"FAILED {text}")
    print(f"all in {time.monotonic() - start:.0f} s, logs in build/log/check/")
    print(count.summary())
    return count.status()


if __name__ == "__main__":
    sys.exit(main())
