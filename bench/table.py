# SPDX-License-Identifier: GPL-2.0
"""The table that all measurements end in: what each figure is on the stock kernel
and on ours, how far its turns lie apart, and whether it is as good as wanted."""
import statistics

LINE = "%-45s %9s %9s %-8s %7s %12s  %-17s %s"
HEAD = ("figure", "stock", "ours", "", "ratio", "spread", "target", "met")


# What may be wanted of a figure: what that is called, and whether it is so.

def of_stock(most):
    return "<= %g of stock" % most, lambda ours, stock: ours <= most * stock


def times_stock(least):
    return ">= %g of stock" % least, lambda ours, stock: ours >= least * stock


def at_most(most):
    return "<= %g" % most, lambda ours, stock: ours <= most


def at_least(least):
    return ">= %g" % least, lambda ours, stock: ours >= least


def times(most, name, base):
    return "<= %g of %s" % (most, name), lambda ours, stock: ours <= most * base


def number(value):
    return "%.0f" % value if abs(value) >= 100 else "%.3g" % value


def spread(values):
    """From the least to the largest, in parts of the median."""
    return "%.0f%%" % (100 * (max(values) - min(values)) / statistics.median(values))


def row(figure, unit, ours, stock=(), target=None, ratio=None):
    """Of ours and stock one value a turn; without stock there is only ours."""
    value, base = (statistics.median(values) if values else None for values in (ours, stock))
    if ratio is None and base:
        ratio = number(value / base)
    turns = [spread(values) for values in (stock, ours) if len(values) > 1]
    met = ("yes" if target[1](value, base) else "no") if target else ""
    return (figure, "" if base is None else number(base), number(value), unit, ratio or "",
            ", ".join(turns), target[0] if target else "", met)


def text(rows):
    return "\n".join((LINE % cells).rstrip() for cells in (HEAD, *rows))
