# SPDX-License-Identifier: GPL-2.0
"""Plots as SVG, written directly: a few lines need no library."""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import table

WIDTH, HEIGHT = 800, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d5ba6")

Point = tuple[float, float]


@dataclass(frozen=True)
class Phase:
    """A stretch of time with fixed weights: each cgroup's due share, and the one it had."""
    text: str
    began: float        # seconds
    end: float
    due: list[float]
    had: list[float]


# -- SVG

def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 13,
         fill: str = "#333") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{fill}">{words}</text>')


def line(x1: float, y1: float, x2: float, y2: float, colour: str = "#ccc", dash: str = "") -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-dasharray="{dash}"/>')


def curve(points: Iterable[Point], colour: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{places}"/>'


def document(title: str, parts: Iterable[str]) -> str:
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(WIDTH / 2, 20, title, size=15), *parts, "</svg>", ""])


# -- plots

def phases(data: dict[str, Any]) -> Iterator[Phase]:
    """The phases that bench/shares.py recorded."""
    ends = [phase["began"] for phase in data["phases"][1:]] + [data["end"]]
    for phase, end in zip(data["phases"], ends):
        # Only steps that lie in the phase as a whole.
        first = int(phase["began"] / data["step"]) + 1
        work = [sum(column) for column in zip(*data["work"][first:int(end / data["step"])])]
        yield Phase(phase["text"], phase["began"], end,
                    [weight / sum(phase["weights"]) for weight in phase["weights"]],
                    [part / max(1, sum(work)) for part in work])


def shares(data: dict[str, Any]) -> str:
    """Share of the work over time; the due share by weight is dashed."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(seconds: float, share: float) -> Point:
        return LEFT + wide * seconds / data["end"], TOP + high * (1 - share)

    parts = []
    for tenth in range(0, 11, 2):
        parts += [line(*at(0, tenth / 10), *at(data["end"], tenth / 10)),
                  text(LEFT - 8, at(0, tenth / 10)[1] + 4, f"{tenth * 10}%", "end")]
    for phase in phases(data):
        parts.append(line(*at(phase.began, 0), *at(phase.began, 1), "#999"))
        parts.append(text(at((phase.began + phase.end) / 2, 1)[0], TOP - 8, phase.text, size=11))
        for colour, share in zip(COLOURS, phase.due):
            parts.append(line(*at(phase.began, share), *at(phase.end, share), colour, "4 4"))
    for i, (name, colour) in enumerate(zip(data["names"], COLOURS)):
        points = []
        for number, work in enumerate(data["work"][:-1]):
            if sum(work):
                points.append(at((number + 0.5) * data["step"], work[i] / sum(work)))
        parts += [curve(points, colour), text(LEFT + 30 + 40 * i, HEIGHT - 8, name, fill=colour)]
    parts.append(text(WIDTH - RIGHT, HEIGHT - 8, f"{int(data['end'])} seconds", "end"))
    return document("Share of the scanning by weight; dashed: what is due", parts)


def scan(points: Sequence[tuple[int, Sequence[float]]]) -> str:
    """CPU time per page over doublings of memory, from (MiB, (stock, ours))."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = math.ceil(max(max(pair) for _, pair in points))
    doublings = max(1, math.log2(points[-1][0] / points[0][0]))

    def at(mib: int, us: float) -> Point:
        return (LEFT + 30 + (wide - 60) * math.log2(mib / points[0][0]) / doublings,
                TOP + high * (1 - us / top))

    parts = []
    for fifth in range(6):
        y = at(points[0][0], top * fifth / 5)[1]
        parts += [line(LEFT, y, WIDTH - RIGHT, y),
                  text(LEFT - 8, y + 4, f"{top * fifth / 5:.1f}", "end")]
    for mib, _ in points:
        parts.append(text(at(mib, 0)[0], HEIGHT - BOTTOM + 18, table.size(mib)))
    for i, name in enumerate(("stock", "ours")):
        colour = COLOURS[1 - i]
        places = [at(mib, pair[i]) for mib, pair in points]
        parts += [curve(places, colour), text(LEFT + 30 + 50 * i, HEIGHT - 8, name, fill=colour)]
        for (x, y), (_, pair) in zip(places, points):
            parts.append(text(x, y - 8, f"{pair[i]:.2f}", size=12, fill=colour))
    return document("CPU time of a page without a twin, steady state, in microseconds", parts)
