# SPDX-License-Identifier: GPL-2.0
"""Plots as SVG, by hand: a few lines need no library."""
import math

WIDTH, HEIGHT = 800, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d5ba6")


def text(x, y, words, anchor="middle", size=13, fill="#333"):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s">%s</text>' % (
        x, y, anchor, size, fill, words)


def line(x1, y1, x2, y2, colour="#ccc", dash=""):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="%s"/>' % (
        x1, y1, x2, y2, colour, dash)


def curve(points, colour):
    return '<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (
        colour, " ".join("%.1f,%.1f" % point for point in points))


def document(title, parts):
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif">'
        % (WIDTH, HEIGHT),
        "<title>%s</title>" % title,
        '<rect width="%d" height="%d" fill="white"/>' % (WIDTH, HEIGHT),
        text(WIDTH / 2, 20, title, size=15), *parts, "</svg>", ""])


def phases(data):
    """Of each phase: it, the shares wanted, the shares had."""
    ends = [phase["began"] for phase in data["phases"][1:]] + [data["end"]]
    for phase, end in zip(data["phases"], ends):
        # stretches that lie in it whole
        first = int(phase["began"] / data["step"]) + 1
        work = data["work"][first:int(end / data["step"])]
        had = [sum(column) for column in zip(*work)]
        yield (phase, [weight / sum(phase["weights"]) for weight in phase["weights"]],
               [part / max(1, sum(had)) for part in had])


def shares(data):
    """Share of the work over time, with what is due by weight as dashes."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(seconds, share):
        return LEFT + wide * seconds / data["end"], TOP + high * (1 - share)

    parts = []
    for tenth in range(0, 11, 2):
        parts += [line(*at(0, tenth / 10), *at(data["end"], tenth / 10)),
                  text(LEFT - 8, at(0, tenth / 10)[1] + 4, "%d%%" % (tenth * 10), "end")]
    ends = [phase["began"] for phase in data["phases"][1:]] + [data["end"]]
    for (phase, wanted, unused), end in zip(phases(data), ends):
        parts.append(line(*at(phase["began"], 0), *at(phase["began"], 1), "#999"))
        parts.append(text(at((phase["began"] + end) / 2, 1)[0], TOP - 8, phase["text"], size=11))
        for colour, share in zip(COLOURS, wanted):
            parts.append(line(*at(phase["began"], share), *at(end, share), colour, "4 4"))
    for i, (name, colour) in enumerate(zip(data["names"], COLOURS)):
        points = []
        for number, work in enumerate(data["work"][:-1]):
            if sum(work):
                points.append(at((number + 0.5) * data["step"], work[i] / sum(work)))
        parts += [curve(points, colour), text(LEFT + 30 + 40 * i, HEIGHT - 8, name, fill=colour)]
    parts.append(text(WIDTH - RIGHT, HEIGHT - 8, "%d seconds" % data["end"], "end"))
    return document("Share of the scanning by weight; dashed: what is due", parts)


def scan(points):
    """CPU time of a page over memory, which doubles and doubles; [(MiB, [stock, ours])]."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = math.ceil(max(max(pair) for unused, pair in points))
    doublings = max(1, math.log2(points[-1][0] / points[0][0]))

    def at(mib, us):
        return (LEFT + 30 + (wide - 60) * math.log2(mib / points[0][0]) / doublings,
                TOP + high * (1 - us / top))

    parts = []
    for fifth in range(6):
        y = at(points[0][0], top * fifth / 5)[1]
        parts += [line(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 8, y + 4, "%.1f" % (top * fifth / 5),
                                                       "end")]
    for mib, unused in points:
        words = "%d GiB" % (mib // 1024) if mib >= 1024 else "%d MiB" % mib
        parts.append(text(at(mib, 0)[0], HEIGHT - BOTTOM + 18, words))
    for i, name in enumerate(("stock", "ours")):
        colour = COLOURS[1 - i]
        places = [at(mib, pair[i]) for mib, pair in points]
        parts += [curve(places, colour), text(LEFT + 30 + 50 * i, HEIGHT - 8, name, fill=colour)]
        for (x, y), (unused, pair) in zip(places, points):
            parts.append(text(x, y - 8, "%.2f" % pair[i], size=12, fill=colour))
    return document("CPU time of a page without a twin, steady state, in microseconds", parts)
