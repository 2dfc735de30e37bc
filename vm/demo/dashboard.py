#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A picture of the dashboard with data of the test machine.

usage: dashboard.py RECORD OUTPUT.svg

RECORD is what record.py wrote. A Prometheus is given it and answers the queries
that the dashboard's panels have; the panels are drawn where and as large as the
dashboard says. The drawing is ours: Grafana is not in Debian. Debian's
prometheus is unpacked below build/ if this machine has none.
"""
import contextlib
import glob
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from xml.sax.saxutils import escape

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DASHBOARD = os.path.join(TOP, "tools/ksm-cgroup/grafana/ksm-cgroup.json")
BUILD = os.path.join(TOP, "build")

# What the viewer has chosen, of all cgroups that there are.
CHOSEN = {"instance": ".*", "cgroup": "/ksmdemo.*"}
COLUMN, ROW, GAP = 52, 34, 8    # of the dashboard's grid, in pixels
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff",
           "#fade2a", "#ca95e5", "#96d98d", "#ffb357", "#ff7383")
INK, FAINT, LINES, PANEL, GROUND = "#d8d9da", "#8e8e8e", "#2c3235", "#181b1f", "#111217"
STEPS = 240                     # points of a curve


# ------------------------------------------------------------- Prometheus

def programs():
    """Folder of prometheus and promtool."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return os.path.dirname(shutil.which("prometheus"))
    folder = os.path.join(BUILD, "prometheus")
    if not glob.glob(folder + "/usr/bin/promtool"):
        os.makedirs(folder, exist_ok=True)
        if subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
                           "prometheus"], cwd=folder,
                          check=False).returncode:
            sys.exit("dashboard: no package prometheus: apt-get update")
        for package in glob.glob(folder + "/*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder + "/usr/bin"


def samples(record):
    """The record's lines, each as of one host."""
    with open(record) as stream:
        for line in stream:
            name, value = re.fullmatch(r"(\w+(?:\{.*\})?) (\S+ \S+)\n", line).groups()
            labels = 'instance="ksmvm",job="node"'
            name = name[:-1] + "," + labels + "}" if name[-1] == "}" else "%s{%s}" % (name, labels)
            yield name, value


def times(record):
    with open(record) as stream:
        stamps = [float(line.rpartition(" ")[2]) for line in stream]
    return min(stamps), max(stamps)


def free_port():
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Prometheus:
    """A server on this machine alone that knows the record and nothing else."""

    def __init__(self, record, work):
        where = programs()
        text, store = os.path.join(work, "text"), os.path.join(work, "store")
        with open(text, "w") as stream:
            for name, value in samples(record):
                stream.write("%s %s\n" % (name, value))
            stream.write("# EOF\n")
        config = os.path.join(work, "config.yml")
        with open(config, "w") as stream:
            stream.write("scrape_configs: []\n")
        subprocess.run([where + "/promtool", "tsdb", "create-blocks-from", "openmetrics", text,
                        store], check=True, stdout=subprocess.DEVNULL)
        self.address = "127.0.0.1:%d" % free_port()
        with open(os.path.join(work, "log"), "w") as log:
            self.server = subprocess.Popen(
                [where + "/prometheus", "--config.file=" + config, "--storage.tsdb.path=" + store,
                 # what is not said any more ends here, as it does where one scrapes
                 "--query.lookback-delta=12s",
                 "--storage.tsdb.retention.time=99y", "--web.listen-address=" + self.address],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()

    def wait(self):
        for unused in range(300):
            with contextlib.suppress(OSError):
                with urllib.request.urlopen("http://%s/-/ready" % self.address):
                    return
            time.sleep(0.1)
        sys.exit("dashboard: prometheus does not come up")

    def query(self, path, **words):
        url = "http://%s/api/v1/%s?%s" % (self.address, path, urllib.parse.urlencode(words))
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    def stop(self):
        self.server.terminate()
        self.server.wait()


def expression(target):
    text = target["expr"]
    for name, value in CHOSEN.items():
        text = text.replace("$" + name, value)
    return text


def legend(target, metric):
    return re.sub(r"\{\{(\w+)\}\}", lambda found: metric.get(found[1], ""),
                  target.get("legendFormat", ""))


# --------------------------------------------------------------- drawing

def number(value, unit):
    """As Grafana's units of these names show it."""
    if unit == "percentunit":
        return "%.3g%%" % (value * 100)
    steps = (1024, ("B", "KiB", "MiB", "GiB")) if unit == "bytes" else (1000, ("", "K", "M", "G"))
    power = 0
    while abs(value) >= steps[0] and power < 3:
        value /= steps[0]
        power += 1
    return ("%.3g %s" % (value, steps[1][power])).strip()


def words(x, y, text, size=12, fill=INK, anchor="start", weight="normal"):
    return ('<text x="%.1f" y="%.1f" font-size="%d" fill="%s" text-anchor="%s" font-weight="%s">%s'
            "</text>" % (x, y, size, fill, anchor, weight, escape(text)))


def ticks(low, high, unit):
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


def curves(panel, prometheus, begin, end):
    found = []
    for target in panel["targets"]:
        for series in prometheus.query("query_range", query=expression(target), start=begin,
                                       end=end, step=(end - begin) / STEPS):
            points = [(float(when), float(value)) for when, value in series["values"]]
            if any(value for unused, value in points):
                found.append((legend(target, series["metric"]), points))
    return found


def draw_curves(box, panel, prometheus, begin, end):
    x, y, wide, high = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    found = curves(panel, prometheus, begin, end)
    values = [value for unused, points in found for unused2, value in points] + [0]
    marks = list(ticks(min(values), max(values), unit))
    rows = math.ceil(len(found) / 3)
    left, right, top, bottom = x + 66, x + wide - 12, y + 34, y + high - 26 - 15 * rows

    def at(when, value):
        return (left + (right - left) * (when - begin) / (end - begin),
                bottom - (bottom - top) * (value - marks[0]) / (marks[-1] - marks[0]))

    parts = []
    for mark in marks:
        line = at(begin, mark)[1]
        parts += ['<path d="M%.1f %.1fH%.1f" stroke="%s"/>' % (left, line, right, LINES),
                  words(left - 6, line + 4, number(mark, unit), 11, FAINT, "end")]
    for minute in range(0, int((end - begin) / 60) + 1, 2):
        parts.append(words(at(begin + 60 * minute, marks[0])[0], bottom + 15, "%d min" % minute, 11,
                           FAINT, "middle"))
    for index, (name, points) in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        parts.append('<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>' % (
            colour, " ".join("%.1f,%.1f" % at(*point) for point in points)))
        across, down = left - 50 + index % 3 * (wide - 30) / 3, bottom + 33 + 15 * (index // 3)
        parts += ['<path d="M%.1f %.1fh12" stroke="%s" stroke-width="3"/>' % (
            across, down - 4, colour), words(across + 17, down, name, 11)]
    if not found:
        parts.append(words(x + wide / 2, y + high / 2, "No data", 14, FAINT, "middle"))
    return parts


def draw_stat(box, panel, prometheus, unused_begin, end):
    x, y, wide, high = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    found = prometheus.query("query", query=expression(panel["targets"][0]), time=end)
    text = number(float(found[0]["value"][1]), unit) if found else "No data"
    return [words(x + wide / 2, y + high / 2 + 22, text, 32, COLOURS[0], "middle", "bold")]


def draw_table(box, panel, prometheus, unused_begin, end):
    x, y, wide, unused_high = box
    found = prometheus.query("query", query=expression(panel["targets"][0]), time=end)
    hidden = {"__name__", "instance", "job"}
    names = sorted({name for row in found for name in row["metric"]} - hidden)
    parts = []
    for index, name in enumerate(names):
        across = x + 14 + index * (wide - 20) / len(names)
        parts.append(words(across, y + 48, name, 12, COLOURS[2], weight="bold"))
        for line, row in enumerate(sorted(found, key=lambda row: row["metric"].get("cgroup", ""))):
            parts.append(words(across, y + 72 + 22 * line, row["metric"].get(name, "")))
    return parts


DRAW = {"timeseries": draw_curves, "stat": draw_stat, "table": draw_table}


def draw(dashboard, prometheus, begin, end):
    parts = []
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        box = (grid["x"] * COLUMN + GAP, grid["y"] * ROW + 48, grid["w"] * COLUMN - GAP,
               grid["h"] * ROW - GAP)
        parts.append('<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s" stroke="%s"/>' %
                     (*box, PANEL, LINES))
        parts.append(words(box[0] + 10, box[1] + 20, panel["title"], 13, weight="500"))
        parts += DRAW[panel["type"]](box, panel, prometheus, begin, end)
    wide = 24 * COLUMN + GAP
    high = 48 + ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"]
                          for panel in dashboard["panels"])
    head = [words(GAP + 2, 30, dashboard["title"], 18, weight="500"),
            words(wide - GAP, 30, "Host: ksmvm    Cgroup: %s    %d minutes" % (
                CHOSEN["cgroup"], (end - begin) / 60), 13, FAINT, "end")]
    return "\n".join([
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif">' %
        (wide, high), '<rect width="%d" height="%d" fill="%s"/>' % (wide, high, GROUND),
        *head, *parts, "</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    record, output = sys.argv[1:]
    with open(DASHBOARD) as stream:
        dashboard = json.load(stream)
    with tempfile.TemporaryDirectory() as work:
        prometheus = Prometheus(record, work)
        try:
            picture = draw(dashboard, prometheus, *times(record))
        finally:
            prometheus.stop()
    with open(output, "w") as stream:
        stream.write(picture)


if __name__ == "__main__":
    main()
