# SPDX-License-Identifier: GPL-2.0
"""The table of all figures, and the arithmetic behind it.

Each row has a figure's value on the stock kernel and on ours, their ratio, the
spread of the turns, and whether the target is met.
"""
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass

LINE = "{:<45} {:>9} {:>9} {:<8} {:>7} {:>12}  {:<17} {}"


@dataclass(frozen=True)
class Target:
    """What a figure should be: as text, and as a test of the values (ours, stock)."""
    text: str
    met: Callable[[float, float | None], bool]


@dataclass(frozen=True)
class Row:
    """The cells of a row as they are printed."""
    figure: str
    stock: str
    ours: str
    unit: str
    ratio: str
    spread: str
    target: str
    met: str


HEAD = Row("figure", "stock", "ours", "", "ratio", "spread", "target", "met")


# -- targets

def of_stock(most: float) -> Target:
    return Target(f"<= {most:g} of stock", lambda ours, stock: ours <= most * stock)


def times_stock(least: float) -> Target:
    return Target(f">= {least:g} of stock", lambda ours, stock: ours >= least * stock)


def at_most(most: float) -> Target:
    return Target(f"<= {most:g}", lambda ours, stock: ours <= most)


def at_least(least: float) -> Target:
    return Target(f">= {least:g}", lambda ours, stock: ours >= least)


def times(most: float, name: str, base: float) -> Target:
    """At most a multiple of another figure, base, which the table calls name."""
    return Target(f"<= {most:g} of {name}", lambda ours, stock: ours <= most * base)


# -- values

def medians(text: str) -> dict[str, float]:
    """The median of each name's values in lines of "name value"."""
    figures: dict[str, list[float]] = {}
    for name, value in map(str.split, text.splitlines()):
        figures.setdefault(name, []).append(float(value))
    return {name: statistics.median(values) for name, values in figures.items()}


def columns(text: str, names: Sequence[str]) -> list[dict[str, float]]:
    """Lines of numbers, as one dictionary each."""
    return [dict(zip(names, map(float, line.split()))) for line in text.splitlines()]


# -- formatting

def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def size(mib: int) -> str:
    return f"{mib // 1024} GiB" if mib >= 1024 else f"{mib} MiB"


def spread(values: Sequence[float]) -> str:
    """The distance of the extremes, in percent of the median."""
    return f"{100 * (max(values) - min(values)) / statistics.median(values):.0f}%"


def row(figure: str, unit: str, ours: Sequence[float], stock: Sequence[float] = (),
        target: Target | None = None, ratio: str | None = None) -> Row:
    """A row from the values of each turn; stock is empty where only ours is measured."""
    value = statistics.median(ours)
    base = statistics.median(stock) if stock else None
    if ratio is None:
        ratio = number(value / base) if base else ""
    turns = [spread(values) for values in (stock, ours) if len(values) > 1]
    met = ""
    if target:
        met = "yes" if target.met(value, base) else "no"
    return Row(figure, "" if base is None else number(base), number(value), unit, ratio,
               ", ".join(turns), target.text if target else "", met)


def text(rows: Iterable[Row]) -> str:
    return "\n".join(LINE.format(*astuple(cells)).rstrip() for cells in (HEAD, *rows))
