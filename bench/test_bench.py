# SPDX-License-Identifier: GPL-2.0
"""Unit tests of the benchmark's pure parts, with fixed data and without a VM.

    python3 -m unittest discover bench
"""
from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import bench
import guest
import host
import plot
import scan
import shares
import table
import uml
from uml import Job


def stretch(cpu_us: float, **more: int) -> dict[str, float]:
    """What scan.c reports of a stretch of 100 pages."""
    return {"cpu_ns": cpu_us * 1e3, "scanned": 80, "skipped": 20, "passes": 2, **more}


def results(us: float) -> dict[str, dict]:
    """One turn of all jobs, in which every page takes so many microseconds."""
    turn = {}
    for job in scan.WHOLE + scan.QUICK:
        result = {name: stretch(100 * us, pages=50, wall_us=10000) for name in (
            "first", "steady", "smart", "changed_whole", "changed_word", "merge", "merged",
            "unmerge", "settle", "found", "saved", "placed")}
        turn[job.key] = dict(result, pages=100, metadata={"own": 1600 * us, "taken": 6400})
    return turn


def scan_results(stock: float = 2, ours: float = 0.1) -> dict:
    return {"stock": [results(stock)], "ksm": [results(ours)],
            "choice": [{10: 50.0, 100: 60.0, 10000: 100.5}],
            "sizes": {"user mode": [[1000, 500], [1200, 499]]}}


def by_figure(rows) -> dict[str, table.Row]:
    return {row.figure: row for row in rows}


class Numbers(unittest.TestCase):
    def test_number(self):
        for value, text in ((0.302491, "0.302"), (0.04412, "0.0441"), (2, "2"), (99.94, "99.9"),
                            (99.96, "100"), (100.4, "100"), (243977.2, "243977"),
                            (-150.2, "-150"), (0, "0")):
            self.assertEqual(table.number(value), text)

    def test_spread(self):
        self.assertEqual(table.spread([1, 2, 3]), "100%")
        self.assertEqual(table.spread([10, 10, 10]), "0%")
        self.assertEqual(table.spread([90, 100, 113]), "23%")

    def test_size(self):
        self.assertEqual([table.size(mib) for mib in (256, 1023, 1024, 4096)],
                         ["256 MiB", "1023 MiB", "1 GiB", "4 GiB"])

    def test_medians(self):
        self.assertEqual(table.medians("a 1\nb 5\na 30\na 2\nc 1\nc 2\n"),
                         {"a": 2, "b": 5, "c": 1.5})
        self.assertEqual(table.medians(""), {})
        with self.assertRaises(ValueError):
            table.medians("a line of words\n")

    def test_columns(self):
        self.assertEqual(table.columns("1 2\n3 4.5\n", ("a", "b")),
                         [{"a": 1, "b": 2}, {"a": 3, "b": 4.5}])


class Targets(unittest.TestCase):
    def check(self, target, text, met, missed):
        self.assertEqual(target.text, text)
        self.assertTrue(target.met(*met))
        self.assertFalse(target.met(*missed))

    def test_targets(self):
        self.check(table.of_stock(0.25), "<= 0.25 of stock", (1, 4), (1.01, 4))
        self.check(table.times_stock(3), ">= 3 of stock", (12, 4), (11.9, 4))
        self.check(table.at_most(16), "<= 16", (16, None), (16.1, None))
        self.check(table.at_least(1.8), ">= 1.8", (1.8, None), (1.79, None))
        self.check(table.times(2, "random", 5), "<= 2 of random", (10, None), (10.1, None))


class Rows(unittest.TestCase):
    def test_both_kernels(self):
        self.assertEqual(
            table.row("x", "us", [1, 2, 3], [4, 8, 6], table.of_stock(0.5)),
            table.Row("x", "6", "2", "us", "0.333", "67%, 100%", "<= 0.5 of stock", "yes"))

    def test_missed(self):
        self.assertEqual(table.row("x", "us", [4], [6], table.of_stock(0.5)).met, "no")

    def test_ours_alone(self):
        self.assertEqual(table.row("x", "us", [1.5]),
                         table.Row("x", "", "1.5", "us", "", "", "", ""))
        self.assertEqual(table.row("x", "us", [1, 2, 3]).spread, "100%")

    def test_own_ratio(self):
        self.assertEqual(table.row("x", "bytes", [12], [10], ratio="+2").ratio, "+2")

    def test_text(self):
        rows = [table.row("unique, steady, 1 GiB", "us/page", [0.365, 0.3, 0.4], [7.75, 7, 8],
                          table.of_stock(0.1)),
                table.row("scanner threads: 1", "pages/s", [480448])]
        self.assertEqual(table.text(rows), (
            "figure" + 44 * " " + "stock" + 6 * " " + "ours" + 12 * " " + "ratio" + 7 * " "
            + "spread  target" + 12 * " " + "met\n"
            "unique, steady, 1 GiB" + 30 * " " + "7.75" + 5 * " " + "0.365 us/page" + 3 * " "
            + "0.0471" + 5 * " " + "13%, 27%  <= 0.1 of stock" + 3 * " " + "yes\n"
            "scanner threads: 1" + 41 * " " + "480448 pages/s"))


class Phases(unittest.TestCase):
    # Steps 0, 4 and 8 are not in one phase as a whole; they would spoil the shares.
    DATA = {"names": ["a", "b"], "step": 0.5, "end": 4.2,
            "phases": [{"text": "1, 3", "weights": [1, 3], "began": 0},
                       {"text": "b is off", "weights": [1, 0], "began": 2.2}],
            "work": [[900, 0], [10, 30], [10, 20], [0, 10], [0, 900], [50, 0], [30, 0], [20, 0],
                     [0, 900]]}

    def test_shares(self):
        first, second = plot.phases(self.DATA)
        self.assertEqual(first, plot.Phase("1, 3", 0, 2.2, [0.25, 0.75], [0.25, 0.75]))
        self.assertEqual(second, plot.Phase("b is off", 2.2, 4.2, [1, 0], [1, 0]))

    def test_nothing_scanned(self):
        idle = dict(self.DATA, work=[[0, 0]] * 9)
        self.assertEqual([phase.had for phase in plot.phases(idle)], [[0, 0], [0, 0]])

    def test_plot(self):
        svg = plot.shares(self.DATA)
        self.assertEqual(svg.count("<polyline"), 2)
        self.assertIn(">b is off</text>", svg)
        self.assertIn(">4 seconds</text>", svg)

    def test_work_in_steps(self):
        with tempfile.TemporaryDirectory() as name:
            cgroups = [Path(name) / "a", Path(name) / "b"]
            for cgroup in cgroups:
                cgroup.mkdir()
            a, b = (cgroup.stat().st_ino for cgroup in cgroups)
            slices = [(9.9, a, 1), (10.0, a, 2), (10.2, b, 4), (10.3, a, 8), (10.4, 0, 16),
                      (10.6, b, 32)]
            with mock.patch.object(shares, "traced_slices", lambda: slices):
                work = shares.work_in_steps(cgroups, 10.0, 10.6)
        self.assertEqual(work, [[2, 4], [8, 0], [0, 0]])


class Scan(unittest.TestCase):
    def test_ways(self):
        result = {"pages": 200, "metadata": {"own": 3060},
                  "s": {"cpu_ns": 600000, "scanned": 100, "skipped": 200, "passes": 3,
                        "pages": 50, "wall_us": 2000}}
        self.assertAlmostEqual(scan.page_us(result, "s"), 2)
        self.assertAlmostEqual(scan.merged_us(result, "s"), 1)
        self.assertAlmostEqual(scan.per_second(result, "s"), 50 / 0.0006)
        self.assertAlmostEqual(scan.wall_s(result, "s"), 0.002)
        self.assertAlmostEqual(scan.cpu_percent(result, "s"), 30)
        self.assertAlmostEqual(scan.saved_percent(result, "s"), 25)
        self.assertAlmostEqual(scan.found_us(result, "s"), 3)
        self.assertAlmostEqual(scan.metadata(result, "own"), 15.3)

    def test_rows(self):
        rows = by_figure(scan.rows(scan_results()))
        self.assertEqual(rows["unique, steady, 256 MiB"], table.Row(
            "unique, steady, 256 MiB", "2", "0.1", "us/page", "0.05", "", "<= 0.1 of stock",
            "yes"))
        self.assertEqual(rows["metadata, as the kernel says"].met, "yes")
        self.assertEqual(rows["choosing the next of 10000 cgroups"].met, "no")
        self.assertEqual(rows["unique, steady, 4 GiB over 256 MiB"].met, "yes")
        self.assertEqual(rows["text, user mode"].ratio, "+200")
        self.assertEqual(rows["data, user mode"].ratio, "-1")

    def test_missed(self):
        rows = by_figure(scan.rows(scan_results(ours=0.6)))
        self.assertEqual(rows["unique, steady, 256 MiB"].met, "no")
        self.assertEqual(rows["volatile, one word, 1 GiB"].met, "no")
        self.assertEqual(rows["metadata, as the kernel says"].ours, "9.6")

    def test_not_measured(self):
        data = scan_results()
        del data["ksm"][0][Job("unique", "random", 4096).key]
        rows = by_figure(scan.rows(data))
        self.assertNotIn("unique, steady, 4 GiB", rows)
        self.assertNotIn("unique, steady, 4 GiB over 256 MiB", rows)
        self.assertIn("unique, steady, 1 GiB", rows)
        del data["ksm"][0][Job("unique", "random", 256).key]
        with self.assertRaisesRegex(host.BenchError, "free some memory"):
            scan.rows(data)

    def test_plot(self):
        svg = plot.scan([(256, [5.18, 0.302]), (1024, [7.75, 0.362])])
        self.assertEqual(svg.count("<polyline"), 2)
        for words in ("256 MiB", "1 GiB", "7.75", "0.36"):
            self.assertIn(f">{words}</text>", svg)


class UserMode(unittest.TestCase):
    def test_job(self):
        job = Job("unique", "random", 1024)
        self.assertEqual((job.key, job.machine_mib), ("unique random 1024", 1408))
        self.assertEqual(uml.command("ksm", job)[-4:], ["unique", "random", "1024", "0"])
        real = uml.command("stock", Job("real", "interpreters", 512, smart=True))
        self.assertIn("rootflags=/", real)
        self.assertEqual(real[-1], "1")

    def test_figures(self):
        self.assertEqual(uml.figures("pages 65536"), ("pages", 65536))
        self.assertEqual(uml.figures("merge cpu_ns 12 pages 3 shared 1"),
                         ("merge", {"cpu_ns": 12, "pages": 3, "shared": 1}))


class Guest(unittest.TestCase):
    def test_slices(self):
        trace = ("# tracer: nop\n"
                 "           <...>-61      [001] .....  123.500000: ksm_slice: work 4096 cost 17 "
                 "cgroup 42\n"
                 "           <...>-61      [001] .....  123.600000: ksm_pick: cgroup 42\n")
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "trace").write_text(trace)
            with mock.patch.object(guest, "TRACING", Path(name)):
                self.assertEqual(list(guest.traced_slices()), [(123.5, 42, 4096)])


class Parts(unittest.TestCase):
    """The rows of each part, from what its program prints."""

    RESTORE = ("fast_s 40\nfast_ksmd_s 38\n",
               "writes_percent 99\nwrites_own_s 8\nwrites_s 10\nwrites_ksmd_s 1\n"
               "alone_percent 99\nalone_own_s 9\nalone_s 20\nalone_ksmd_s 1\n"
               "ksmd_s 60\nksmd_ksmd_s 9\nfast_s 9\nfast_ksmd_s 8\n")
    EXITS = "".join(f"{when}_{whose}_us {us}\n"
                    for when, us in (("before", 10), ("unmap", 20), ("off", 20001), ("exit", 30))
                    for whose in ("same", "other"))
    COST = "".join(f"{what}_{when}_ns {ns}\n" for what in ("touch", "twin", "cow")
                   for when, ns in (("scanned", 130), ("alone", 100))) + "unmerge_ns 5\nrmap_ns 7\n"
    INSNS = "".join(f"{name} 1000.00\n" for name in
                    ("fault", "read_fault", "munmap", "dontneed", "fork", "cow"))
    ADVISOR = "".join(f"{cgroups} {limit} {percent}\n" for cgroups in (1, 10, 100)
                      for limit, percent in ((5, 4.9), (20, 20.1)))
    SLICES = json.dumps({name: {"lines": [], "us": us} for name, us in (
        ("random", [10] * 98 + [20, 30, 40]), ("near", [41] * 100), ("hostile", [90, 3]))})
    SHARES = dict(Phases.DATA, phases=[
        {"text": phase.text, "weights": phase.weights[:2], "began": began}
        for phase, began in zip(shares.PHASES, (0, 1, 2, 3))])

    def rows(self, part, *outputs):
        """Rows of a part whose runs in the VM print these texts, in turn."""
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            for patch in (mock.patch.object(bench, "OUT", Path(name)),
                          mock.patch.object(bench, "compile_c"),
                          mock.patch.object(bench, "save"),
                          mock.patch.object(bench, "run", side_effect=outputs),
                          contextlib.redirect_stderr(io.StringIO())):
                stack.enter_context(patch)
            return list(part())

    def test_insns(self):
        slower = self.INSNS.replace("fork 1000.00", "fork 1005.10")
        rows = by_figure(self.rows(bench.insns, *[self.INSNS, slower] * host.TURNS))
        self.assertEqual(rows["instructions, fault"], table.Row(
            "instructions, fault", "1000", "1000", "insns", "1", "0%, 0%", "<= 1.005 of stock",
            "yes"))
        self.assertEqual(rows["instructions, fork"].met, "no")

    def test_read(self):
        rows = self.rows(bench.read, "100 1000 20000 150.5 12.5\n")
        self.assertEqual([(row.figure, row.ours) for row in rows],
                         [("memory.ksm.stat, 100 cgroups, the one above", "150"),
                          ("memory.ksm.stat, 100 cgroups, one of them", "12.5")])

    def test_exits(self):
        rows = by_figure(self.rows(bench.exits, *[self.EXITS] * host.TURNS))
        self.assertEqual(rows["longest write in its domain, while it is scanned"].met, "")
        self.assertEqual(rows["longest write in another domain, as it is unmapped"].met, "yes")
        self.assertEqual(rows["longest write in another domain, as it is switched off"].met, "no")

    def test_shares(self):
        rows = self.rows(bench.shares, json.dumps(self.SHARES))
        self.assertEqual(len(rows), len(shares.PHASES))
        self.assertEqual(rows[0].target, "<= 0.02")

    def test_advisor(self):
        rows = self.rows(bench.advisor, self.ADVISOR)
        self.assertEqual([row.met for row in rows], ["yes", "no"] * 3)

    def test_threads(self):
        rows = self.rows(bench.threads, json.dumps({"1": [10, 11, 12], "2": [20, 19, 18]}))
        self.assertEqual([(row.ours, row.met) for row in rows],
                         [("11", ""), ("19", ""), ("1.73", "no")])

    def test_slices(self):
        rows = self.rows(bench.slices, self.SLICES)
        self.assertEqual([(row.figure, row.ours, row.met) for row in rows], [
            ("99% of 101 slices, random", "30", ""), ("longest of 101 slices, random", "40", ""),
            ("99% of 100 slices, near", "41", "yes"), ("longest of 100 slices, near", "41", "yes"),
            ("99% of 2 slices, hostile", "90", "no"),
            ("longest of 2 slices, hostile", "90", "no")])

    def test_restore(self):
        rows = by_figure(self.rows(bench.restore, *self.RESTORE * host.TURNS))
        self.assertEqual(rows["shared by two writes, 1 GiB"].met, "yes")
        cpu = rows["two writes, CPU"]
        self.assertEqual((cpu.ours, cpu.stock, cpu.met), ("9", "38", "yes"))
        alone = rows["two writes, ksmd scans nothing else, CPU"]
        self.assertEqual((alone.ours, alone.met), ("10", ""))

    def test_cost(self):
        rows = by_figure(self.rows(bench.cost, *[self.COST] * 2 * host.TURNS))
        self.assertEqual(rows["a page that run=2 gives back"].met, "yes")
        alone = rows["copy on write while scanned, of unscanned"]
        self.assertEqual((alone.ours, alone.unit, alone.met), ("1.3", "times", "no"))

    def test_readme(self):
        """bench/README.md has exactly the targets of the code."""
        rows = [*self.rows(bench.insns, *[self.INSNS] * 2 * host.TURNS),
                *self.rows(bench.exits, *[self.EXITS] * host.TURNS),
                *self.rows(bench.shares, json.dumps(self.SHARES)),
                *self.rows(bench.advisor, self.ADVISOR),
                *self.rows(bench.threads, json.dumps({"1": [10], "2": [20]})),
                *self.rows(bench.slices, self.SLICES),
                *self.rows(bench.restore, *self.RESTORE * host.TURNS),
                *self.rows(bench.cost, *[self.COST] * 2 * host.TURNS),
                *scan.rows(scan_results())]
        code = [(re.sub(r"\d+ slices", "N slices", row.figure), row.target)
                for row in rows if row.target]
        written = re.findall(r"^\| (.+?) *\| ([<>]=.+?) *\| (?:yes|no|not recorded) *\|$",
                             (host.BENCH / "README.md").read_text(), re.M)
        self.assertEqual(sorted(written), sorted(code))


class Settings(unittest.TestCase):
    def settings(self, *words, quick=""):
        with mock.patch("sys.argv", ["bench.py", *words]), \
                mock.patch.dict("os.environ", QUICK=quick):
            return bench.settings()

    def test_parts(self):
        self.assertEqual(self.settings(), bench.Settings(bench.NAMES, False))
        self.assertEqual(self.settings(quick="1"), bench.Settings(("scan",), True))
        self.assertEqual(self.settings("read", "cost", quick="1"),
                         bench.Settings(("read", "cost"), True))

    def test_unknown(self):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
            self.settings("scans")
        self.assertIn("no part 'scans': it is one of insns,", said.getvalue())


if __name__ == "__main__":
    unittest.main()
