# SPDX-License-Identifier: GPL-2.0
"""Plots as SVG, by hand: a few lines need no library."""

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
