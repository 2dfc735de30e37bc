#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A picture of the dashboard with data of the test machine.

RECORD is what record.py wrote. A Prometheus is given it and answers the queries
that the dashboard's panels have; the panels are drawn where and as large as the
dashboard says. The drawing is ours: Grafana is not in Debian. Debian's
prometheus is unpacked below build/ if this machine has none.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import BUILD, TOP, HintError  # noqa: E402

DASHBOARD = TOP / "tools" / "ksm-cgroup" / "grafana" / "ksm-cgroup.json"

# What the viewer has chosen, of all cgroups that there are.
CHOSEN = {"instance": ".*", "cgroup": "/ksmdemo.*"}
COLUMN, ROW, GAP = 52, 34, 8    # of the dashboard's grid, in pixels
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff",
           "#fade2a", "#ca95e5", "#96d98d", "#ffb357", "#ff7383")
INK, FAINT, LINES, PANEL, GROUND = "#d8d9da", "#8e8e8e", "#2c3235", "#181b1f", "#111217"
STEPS = 240                     # points of a curve

Box = tuple[int, int, int, int]         # left, top, width and height in pixels
Points = list[tuple[float, float]]      # time and value


class DashboardError(HintError):
    """The picture is not drawn."""


# ------------------------------------------------------------- Prometheus

def programs() -> Path:
    """Folder of prometheus and promtool."""
    installed = shutil.which("prometheus")
    if installed and shutil.which("promtool"):
        return Path(installed).parent
    folder = BUILD / "prometheus"
    if not (folder / "usr" / "bin" / "promtool").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
                           "prometheus"], cwd=folder, check=False).returncode:
            raise DashboardError("no package prometheus", "apt-get update")
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder / "usr" / "bin"


def samples(record: Path) -> Iterator[tuple[str, str]]:
    """The record's lines, each as of one host."""
    labels = 'instance="ksmvm",job="node"'
    for line in record.read_text().splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+ \S+)", line)
        if not found:
            raise DashboardError(f"'{line}' in {record} is no sample", "record it again")
        yield f"{found[1]}{{{found[2] + ',' if found[2] else ''}{labels}}}", found[3]


def times(record: Path) -> tuple[float, float]:
    stamps = [float(line.rpartition(" ")[2]) for line in record.read_text().splitlines()]
    return min(stamps), max(stamps)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Prometheus:
    """A server on this machine alone that knows the record and nothing else."""

    def __init__(self, record: Path, work: Path) -> None:
        where = programs()
        text, store, config = work / "text", work / "store", work / "config.yml"
        text.write_text("".join(f"{name} {value}\n" for name, value in samples(record)) + "# EOF\n")
        config.write_text("scrape_configs: []\n")
        subprocess.run([where / "promtool", "tsdb", "create-blocks-from", "openmetrics", text,
                        store], check=True, stdout=subprocess.DEVNULL)
        self.address = f"127.0.0.1:{free_port()}"
        self.log = work / "log"
        with self.log.open("w") as log:
            self.server = subprocess.Popen(
                [where / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={store}",
                 # a series that has ended ends here, as it does where it is scraped
                 "--query.lookback-delta=12s",
                 "--storage.tsdb.retention.time=99y", f"--web.listen-address={self.address}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()

    def wait(self) -> None:
        for _ in range(300):
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://{self.address}/-/ready"):
                    return
            time.sleep(0.1)
        raise DashboardError("prometheus does not come up", self.log.read_text()[-500:])

    def query(self, path: str, **words: object) -> list[dict[str, Any]]:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait()


def expression(target: dict[str, str]) -> str:
    text = target["expr"]
    for name, value in CHOSEN.items():
        text = text.replace(f"${name}", value)
    return text


def legend(target: dict[str, str], metric: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: metric.get(found[1], ""),
                  target.get("legendFormat", ""))


# --------------------------------------------------------------- drawing

def number(value: float, unit: str) -> str:
    """As Grafana's units of these names show it."""
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    base, names = (1024, ("B", "KiB", "MiB", "GiB")) if unit == "bytes" else \
        (1000, ("", "K", "M", "G"))
    power = 0
    while abs(value) >= base and power < 3:
        value /= base
        power += 1
    return f"{value:.3g} {names[power]}".strip()


def words(x: float, y: float, text: str, size: int = 12, fill: str = INK, anchor: str = "start",
          weight: str = "normal") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" '
            f'text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>')


def ticks(low: float, high: float, unit: str) -> Iterator[float]:
    """Round values from low to high."""
    base = 2 if unit == "bytes" else 10
    span = (high - low) or 1
    if base == 2:
        step = 2.0 ** math.ceil(math.log2(span / 5))
    else:
        step = 10.0 ** math.floor(math.log10(span / 4))
        step *= next(times for times in (1, 2, 5, 10) if span / (step * times) <= 5)
    at = math.floor(low / step) * step
    while at < high + step:
        yield at
        at += step


def curves(panel: dict[str, Any], prometheus: Prometheus, begin: float,
           end: float) -> list[tuple[str, Points]]:
    found = []
    for target in panel["targets"]:
        for series in prometheus.query("query_range", query=expression(target), start=begin,
                                       end=end, step=(end - begin) / STEPS):
            points = [(float(when), float(value)) for when, value in series["values"]]
            if any(value for _, value in points):
                found.append((legend(target, series["metric"]), points))
    return found


def draw_curves(box: Box, panel: dict[str, Any], prometheus: Prometheus, begin: float,
                end: float) -> list[str]:
    x, y, wide, high = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    found = curves(panel, prometheus, begin, end)
    values = [value for _, points in found for _, value in points] + [0]
    marks = list(ticks(min(values), max(values), unit))
    rows = math.ceil(len(found) / 3)
    left, right, top, bottom = x + 66, x + wide - 12, y + 34, y + high - 26 - 15 * rows

    def at(when: float, value: float) -> tuple[float, float]:
        return (left + (right - left) * (when - begin) / (end - begin),
                bottom - (bottom - top) * (value - marks[0]) / (marks[-1] - marks[0]))

    parts = []
    for mark in marks:
        line = at(begin, mark)[1]
        parts += [f'<path d="M{left:.1f} {line:.1f}H{right:.1f}" stroke="{LINES}"/>',
                  words(left - 6, line + 4, number(mark, unit), 11, FAINT, "end")]
    for minute in range(0, int((end - begin) / 60) + 1, 2):
        parts.append(words(at(begin + 60 * minute, marks[0])[0], bottom + 15, f"{minute} min", 11,
                           FAINT, "middle"))
    for index, (name, points) in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        corners = (at(*point) for point in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="'
                     + " ".join(f"{x:.1f},{y:.1f}" for x, y in corners) + '"/>')
        across, down = left - 50 + index % 3 * (wide - 30) / 3, bottom + 33 + 15 * (index // 3)
        parts += [f'<path d="M{across:.1f} {down - 4:.1f}h12" stroke="{colour}" stroke-width="3"/>',
                  words(across + 17, down, name, 11)]
    if not found:
        parts.append(words(x + wide / 2, y + high / 2, "No data", 14, FAINT, "middle"))
    return parts


def draw_stat(box: Box, panel: dict[str, Any], prometheus: Prometheus, begin: float,
              end: float) -> list[str]:
    del begin
    x, y, wide, high = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    found = prometheus.query("query", query=expression(panel["targets"][0]), time=end)
    text = number(float(found[0]["value"][1]), unit) if found else "No data"
    return [words(x + wide / 2, y + high / 2 + 22, text, 32, COLOURS[0], "middle", "bold")]


def draw_table(box: Box, panel: dict[str, Any], prometheus: Prometheus, begin: float,
               end: float) -> list[str]:
    del begin
    x, y, wide, _ = box
    found = prometheus.query("query", query=expression(panel["targets"][0]), time=end)
    hidden = {"__name__", "instance", "job"}
    names = sorted({name for row in found for name in row["metric"]} - hidden)
    parts = []
    for index, name in enumerate(names):
        across = x + 14 + index * (wide - 20) / len(names)
        parts.append(words(across, y + 48, name, 12, COLOURS[2], weight="bold"))
        for line, row in enumerate(sorted(found, key=lambda row: str(row["metric"].get("cgroup")))):
            parts.append(words(across, y + 72 + 22 * line, row["metric"].get(name, "")))
    return parts


DRAW = {"timeseries": draw_curves, "stat": draw_stat, "table": draw_table}


def draw(dashboard: dict[str, Any], prometheus: Prometheus, begin: float, end: float) -> str:
    parts: list[str] = []
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        box = (grid["x"] * COLUMN + GAP, grid["y"] * ROW + 48, grid["w"] * COLUMN - GAP,
               grid["h"] * ROW - GAP)
        parts.append(f'<rect x="{box[0]}" y="{box[1]}" width="{box[2]}" height="{box[3]}" rx="2" '
                     f'fill="{PANEL}" stroke="{LINES}"/>')
        parts.append(words(box[0] + 10, box[1] + 20, panel["title"], 13, weight="500"))
        parts += DRAW[panel["type"]](box, panel, prometheus, begin, end)
    wide = 24 * COLUMN + GAP
    high = 48 + ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"]
                          for panel in dashboard["panels"])
    head = [words(GAP + 2, 30, dashboard["title"], 18, weight="500"),
            words(wide - GAP, 30, f"Host: ksmvm    Cgroup: {CHOSEN['cgroup']}    "
                                  f"{int((end - begin) / 60)} minutes", 13, FAINT, "end")]
    return "\n".join([
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" '
        'font-family="sans-serif">', f'<rect width="{wide}" height="{high}" fill="{GROUND}"/>',
        *head, *parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("output", type=Path, metavar="OUTPUT.svg")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as work:
            prometheus = Prometheus(arguments.record, Path(work))
            try:
                picture = draw(json.loads(DASHBOARD.read_bytes()), prometheus,
                               *times(arguments.record))
            finally:
                prometheus.stop()
    except DashboardError as error:
        sys.exit(f"dashboard: {error}")
    arguments.output.write_text(picture)


if __name__ == "__main__":
    main()
