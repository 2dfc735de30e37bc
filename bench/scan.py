# SPDX-License-Identifier: GPL-2.0
"""Cost of scanning, the stock kernel and ours in turn, in user mode.

Each set of data has a kernel to itself. A figure is the median over the turns;
its spread is the distance of the extremes in percent of the median.
"""
from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plot
import table
import uml
from host import (BENCH, BUILD, KERNELS, OUT, TURNS, BenchError, captured, compile_c, save,
                  say)
from table import Row, Target
from uml import Job

TREE = BUILD / "linux"
SIZES = (256, 1024, 4096)       # MiB

# The most telling jobs, and all of them.
QUICK = (Job("unique", "random", 256, smart=True), Job("unique", "random", 1024),
         Job("changing", "random", 256), Job("merging", "half", 256), Job("unique", "near", 256))
WHOLE = (Job("unique", "random", 256, smart=True), Job("unique", "random", 1024, smart=True),
         Job("unique", "random", 4096), Job("changing", "random", 1024),
         Job("merging", "half", 1024), Job("merging", "zero", 256), Job("zeroes", "eighth", 256),
         Job("settle", "half", 1024, smart=True), Job("real", "interpreters", 512),
         Job("unique", "near", 256), Job("unique", "spread", 256), Job("unique", "hostile", 256))

Result = dict[str, Any]         # of a job, as uml.run() returns it
Results = dict[str, Any]        # of all turns, as saved in scan.json


def measure(jobs: Sequence[Job], kernel: str) -> dict[str, Result]:
    return {job.key: uml.run(kernel, job) for job in jobs}


def possible(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that there is memory for."""
    small = [job for job in jobs if uml.room(job)]
    if len(small) < len(jobs):
        left_out = ", ".join(job.key for job in jobs if job not in small)
        say(f"too little memory: left out are {left_out}")
    return small


# -- how a figure is computed from one stretch of a job

def page_us(result: Result, stretch: str) -> float:
    """CPU time per page of a pass, scanned or skipped."""
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["scanned"] + s["skipped"])


def merged_us(result: Result, stretch: str) -> float:
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["passes"] * result["pages"])


def per_second(result: Result, stretch: str) -> float:
    s = result[stretch]
    return s["pages"] / (s["cpu_ns"] / 1e9)


def wall_s(result: Result, stretch: str) -> float:
    return result[stretch]["wall_us"] / 1e6


def cpu_percent(result: Result, stretch: str) -> float:
    return result[stretch]["cpu_ns"] / result[stretch]["wall_us"] / 10


def saved_percent(result: Result, stretch: str) -> float:
    return 100 * result[stretch]["pages"] / result["pages"]


def found_us(result: Result, stretch: str) -> float:
    return result[stretch]["cpu_ns"] / 1e3 / result["pages"]


def metadata(result: Result, which: str) -> float:
    return result["metadata"][which] / result["pages"]


@dataclass(frozen=True)
class Figure:
    """A row: from which stretch of which job, how it is computed, and the target."""
    name: str
    unit: str
    job: Job
    how: Callable[[Result, str], float]
    stretch: str
    target: Target | None = None


def unique_figures(mib: int) -> Iterator[Figure]:
    job, size = Job("unique", "random", mib), table.size(mib)
    yield Figure(f"unique, first sight, {size}", "us/page", job, page_us, "first")
    yield Figure(f"unique, steady, {size}", "us/page", job, page_us, "steady",
                 table.of_stock(0.1))
    yield Figure(f"unique, smart scan, {size}", "us/page", job, page_us, "smart")


def changing_figures(mib: int) -> Iterator[Figure]:
    job, size = Job("changing", "random", mib), table.size(mib)
    yield Figure(f"volatile, all of a page, {size}", "us/page", job, page_us, "changed_whole",
                 table.of_stock(0.25))
    yield Figure(f"volatile, one word, {size}", "us/page", job, page_us, "changed_word",
                 table.of_stock(0.25))


def merging_figures(data: str, mib: int) -> Iterator[Figure]:
    job, half = Job("merging", data, mib), data == "half"
    text = f"{'half are copies' if half else 'all zeroes'}, {table.size(mib)}"
    yield Figure(f"merging, {text}", "pages/s", job, per_second, "merge",
                 table.times_stock(3) if half else None)
    yield Figure(f"merged, a visit, {text}", "us/page", job, merged_us, "merged")
    yield Figure(f"unmerging, {text}", "pages/s", job, per_second, "unmerge",
                 table.times_stock(1) if half else None)


def zeroes_figures(friendly: float) -> Iterator[Figure]:
    """Zeroes alone, beside the stock kernel's use_zero_pages and our own full scan."""
    job, text = Job("zeroes", "eighth", 256), "1 in 8, 256 MiB"
    yield Figure(f"zeroes alone, first sight, {text}", "us/page", job, page_us, "first")
    yield Figure(f"zeroes alone, steady, {text}", "us/page", job, page_us, "steady",
                 table.times(1, "random", friendly))
    yield Figure("zeroes alone, placed", "percent", job, saved_percent, "placed",
                 table.at_least(12.4))
    yield Figure("zeroes alone, metadata", "B/page", job, metadata, "own", table.at_most(0.1))


def figures(friendly: float) -> Iterator[Figure]:
    """All figures in the table's order. friendly: a random page, steady, 256 MiB."""
    for mib in SIZES:
        yield from unique_figures(mib)
    for mib in SIZES[:2]:
        yield from changing_figures(mib)
    job = Job("unique", "random", 1024)
    yield Figure("metadata, as the kernel says", "B/page", job, metadata, "own",
                 table.at_most(16))
    yield Figure("metadata, as memory went", "B/page", job, metadata, "taken")
    for data, mib in (("half", 256), ("half", 1024), ("zero", 256)):
        yield from merging_figures(data, mib)
    yield from zeroes_figures(friendly)
    job = Job("settle", "half", 1024)
    yield Figure("until 95% is saved, half are copies, 1 GiB", "s", job, wall_s, "settle",
                 table.of_stock(0.1))
    yield Figure("CPU until then", "percent", job, cpu_percent, "settle", table.at_most(20))
    job = Job("real", "interpreters", 512)
    yield Figure("four interpreters, saved", "percent", job, saved_percent, "saved")
    yield Figure("four interpreters, three passes", "us/page", job, found_us, "found")
    yield Figure("four interpreters, steady", "us/page", job, page_us, "steady")
    for data, text in (("near", "alike but the last word"),
                       ("spread", "alike but a word anywhere"),
                       ("hostile", "of equal fingerprint")):
        yield Figure(f"{text}, 256 MiB", "us/page", Job("unique", data, 256), page_us, "steady",
                     table.times(2, "random", friendly))


# -- rows

def of_turns(results: Results, kernel: str, figure: Figure) -> list[float]:
    """A figure's value in each turn that has it."""
    done = [turn.get(figure.job.key, {}) for turn in results[kernel]]
    return [figure.how(result, figure.stretch) for result in done
            if figure.stretch in result or figure.stretch in result.get("metadata", ())]


def steady(results: Results, mib: int) -> list[float] | None:
    """Medians of the two kernels for a random page; None where that is not measured."""
    figure = Figure("", "", Job("unique", "random", mib), page_us, "steady")
    values = [of_turns(results, kernel, figure) for kernel in KERNELS]
    return [statistics.median(v) for v in values] if all(values) else None


def kernel_rows(results: Results) -> Iterator[Row]:
    medians = steady(results, 256)
    if medians is None:
        raise BenchError("256 MiB of random pages are not measured, which other rows compare with",
                         "free some memory")
    for figure in figures(medians[1]):
        stock, ours = (of_turns(results, kernel, figure) for kernel in KERNELS)
        if stock and ours:
            yield table.row(figure.name, figure.unit, ours, stock, figure.target)


def growth_rows(results: Results) -> Iterator[Row]:
    small, large = (steady(results, mib) for mib in (SIZES[0], SIZES[-1]))
    if small and large:
        stock, ours = (b / a for a, b in zip(small, large))
        yield table.row("unique, steady, 4 GiB over 256 MiB", "times", [ours], [stock],
                        table.at_most(1.5))


# -- without a kernel

def choice(program: str) -> dict[int, float]:
    """Nanoseconds to choose the next cgroup, by the number of cgroups."""
    done = captured([program])
    if done.returncode:
        raise BenchError(f"{program}: status {done.returncode}", "run it by hand")
    return {int(groups): float(ns) for groups, ns in map(str.split, done.stdout.splitlines())}


def choice_program() -> str:
    """Compile the scheduler as a program, before anything is measured."""
    include = [f"-I{BENCH / 'user'}", f"-I{TREE / 'tools' / 'include'}"]
    return str(compile_c("choice", flags=include, more=[TREE / "tools" / "lib" / "rbtree.c"]))


def choice_rows(results: Results) -> Iterator[Row]:
    """The smallest number of cgroups and the largest."""
    turns = results["choice"]
    few, many = min(turns[0]), max(turns[0])
    fast, slow = ([turn[groups] for turn in turns] for groups in (few, many))
    yield table.row(f"choosing the next of {few} cgroups", "ns", fast)
    yield table.row(f"choosing the next of {many} cgroups", "ns", slow,
                    target=table.times(2, str(few), statistics.median(fast)))


def sizes() -> dict[str, list[list[int]]]:
    """Text and data of the kernels that are built: in user mode, and the VM's."""
    result = {}
    for name, folders in (("user mode", ("um-stock", "um")),
                          ("the VM's, with unit tests", ("stock", "ksm"))):
        paths = [BUILD / "obj" / folder / "vmlinux" for folder in folders]
        if not all(path.exists() for path in paths):
            continue
        done = captured(["size", *paths])
        if done.returncode:
            raise BenchError(f"size: {done.stderr.strip()}", "make deps")
        result[name] = [[int(word) for word in re.findall(r"\d+", line)[:2]]
                        for line in done.stdout.splitlines()[1:]]
    return result


def size_rows(results: Results) -> Iterator[Row]:
    for name, (stock, ours) in results["sizes"].items():
        for i, what in enumerate(("text", "data")):
            yield table.row(f"{what}, {name}", "bytes", [ours[i]], [stock[i]],
                            ratio=f"{ours[i] - stock[i]:+d}")


def rows(results: Results) -> list[Row]:
    return [*kernel_rows(results), *growth_rows(results), *choice_rows(results),
            *size_rows(results)]


def measure_all(quick: bool) -> list[Row]:
    """The part scan; quick: fewer jobs, one turn."""
    turns = 1 if quick else TURNS
    jobs = possible(QUICK if quick else WHOLE)
    results: Results = {"stock": [], "ksm": [], "choice": [], "sizes": sizes()}
    uml.prepare()
    program = choice_program()
    with uml.many_maps():
        for turn in range(1, turns + 1):
            for kernel in KERNELS:
                say(f"scanning, the {kernel} kernel, {turn} of {turns}")
                results[kernel].append(measure(jobs, kernel))
            results["choice"].append(choice(program))
            save("scan", results)
    points = [(mib, medians) for mib in SIZES if (medians := steady(results, mib))]
    (OUT / "scan.svg").write_text(plot.scan(points))
    say("plot: build/bench/scan.svg")
    return rows(results)
