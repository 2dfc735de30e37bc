# SPDX-License-Identifier: GPL-2.0
"""What scanning costs, the stock kernel and ours in turn, in user mode.

Each set of data has a kernel to itself. A figure is the median over the turns;
its spread is from the least to the largest, in parts of the median.
"""
import os
import re
import statistics
import subprocess
import sys

import plot
import uml

TOP = uml.TOP
TREE = os.path.join(uml.BUILD, "linux")
KERNELS = ("stock", "ksm")
TURNS = 3
SIZES = (256, 1024, 4096)       # MiB

# What scan.c is to do: part, data, MiB, with smart scan. The first few are enough
# to see where one stands.
QUICK = (("unique", "random", 256, 1), ("unique", "random", 1024, 0),
         ("changing", "random", 1024, 0), ("merging", "half", 256, 0),
         ("unique", "near", 256, 0))
WHOLE = (("unique", "random", 256, 1), ("unique", "random", 1024, 1),
         ("unique", "random", 4096, 0), ("changing", "random", 1024, 0),
         ("merging", "half", 1024, 0), ("merging", "zero", 256, 0),
         ("settle", "half", 1024, 1), ("real", "interpreters", 512, 0),
         ("unique", "near", 256, 0), ("unique", "spread", 256, 0),
         ("unique", "hostile", 256, 0))


def say(text):
    print("==> " + text, file=sys.stderr, flush=True)


def key(part, data, mib):
    return "%s %s %d" % (part, data, mib)


def measure(runs, kernel):
    """What was done, and what scan.c says of it."""
    result = {}
    for part, data, mib, smart in runs:
        log = os.path.join(uml.BUILD, "bench", "scan-%s-%s-%s-%d.log" % (kernel, part, data, mib))
        result[key(part, data, mib)] = uml.run(kernel, part, data, mib, smart, log)
    return result


def possible(runs):
    """Those that there is memory for."""
    small = [run for run in runs if uml.room(run[2])]
    if len(small) < len(runs):
        say("too little memory: left out are %s" %
            ", ".join(key(*run[:3]) for run in runs if run not in small))
    return small


# ---------------------------------------------------------------------- figures

def page_us(result, stretch):
    """CPU time of a page that a pass came by, looked at or passed over."""
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["scanned"] + s["skipped"])


def merged_us(result, stretch):
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["passes"] * result["pages"])


def per_second(result, stretch):
    s = result[stretch]
    return s["pages"] / (s["cpu_ns"] / 1e9)


def wall_s(result, stretch):
    return result[stretch]["wall_us"] / 1e6


def cpu_percent(result, stretch):
    return result[stretch]["cpu_ns"] / result[stretch]["wall_us"] / 10


def saved_percent(result, stretch):
    return 100 * result[stretch]["pages"] / result["pages"]


def found_us(result, stretch):
    return result[stretch]["cpu_ns"] / 1e3 / result["pages"]


def metadata(result, which):
    return result["metadata"][which] / result["pages"]


def size_text(mib):
    return "%d GiB" % (mib // 1024) if mib >= 1024 else "%d MiB" % mib


def rows():
    """Name, unit, run, how it is told, of which stretch, the target if there is one."""
    for mib in SIZES:
        run = ("unique", "random", mib)
        yield "unique, first sight, " + size_text(mib), "us/page", run, page_us, "first", None
        yield ("unique, steady, " + size_text(mib), "us/page", run, page_us, "steady",
               ("of stock", 0.1))
        yield "unique, smart scan, " + size_text(mib), "us/page", run, page_us, "smart", None
    run = ("changing", "random", 1024)
    yield ("volatile, all of a page, 1 GiB", "us/page", run, page_us, "changed_whole",
           ("of stock", 0.25))
    yield ("volatile, one word, 1 GiB", "us/page", run, page_us, "changed_word",
           ("of stock", 0.25))
    run = ("unique", "random", 1024)
    yield "metadata, as the kernel says", "B/page", run, metadata, "own", ("at most", 16)
    yield "metadata, as memory went", "B/page", run, metadata, "taken", None
    for data, text, mib in (("half", "half are copies, 256 MiB", 256),
                            ("half", "half are copies, 1 GiB", 1024),
                            ("zero", "all zeroes, 256 MiB", 256)):
        run, target = ("merging", data, mib), data == "half"
        yield ("merging, " + text, "pages/s", run, per_second, "merge",
               ("times stock", 3) if target else None)
        yield "merged, a visit, " + text, "us/page", run, merged_us, "merged", None
        yield ("unmerging, " + text, "pages/s", run, per_second, "unmerge",
               ("times stock", 1) if target else None)
    run = ("settle", "half", 1024)
    yield "until 95% is saved, half are copies, 1 GiB", "s", run, wall_s, "settle", ("of stock", 0.1)
    yield "CPU until then", "percent", run, cpu_percent, "settle", ("at most", 20)
    run = ("real", "interpreters", 512)
    yield "four interpreters, saved", "percent", run, saved_percent, "saved", None
    yield "four interpreters, three passes", "us/page", run, found_us, "found", None
    yield "four interpreters, steady", "us/page", run, page_us, "steady", None
    for data, text in (("near", "alike but the last word"), ("spread", "alike but a word anywhere"),
                       ("hostile", "of equal fingerprint")):
        yield (text + ", 256 MiB", "us/page", ("unique", data, 256), page_us, "steady",
               ("of random", 2))


def of_turns(results, kernel, run, how, stretch):
    done = [turn.get(key(*run), {}) for turn in results[kernel]]
    return [how(result, stretch) for result in done
            if stretch in result or stretch in result.get("metadata", ())]


def spread(values):
    return (max(values) - min(values)) / statistics.median(values)


def judge(target, stock, ours, friendly):
    """What is wanted, and whether it is so; friendly: random pages, steady, 256 MiB."""
    if not target:
        return "", ""
    kind, limit = target
    met = {"of stock": ours <= limit * stock, "times stock": ours >= limit * stock,
           "at most": ours <= limit, "of random": ours <= limit * friendly}[kind]
    text = {"of stock": "<= %g of stock", "times stock": ">= %g of stock",
            "at most": "<= %g", "of random": "<= %g of random"}[kind]
    return text % limit, "yes" if met else "no"


LINE = "%-41s %9s %9s %-8s %7s %12s  %-15s %s"


def number(value):
    return "%.0f" % value if abs(value) >= 100 else "%.3g" % value


def percent(*sets):
    return ", ".join("%.0f%%" % (100 * spread(values)) for values in sets)


def print_rows(results):
    friendly = statistics.median(of_turns(results, "ksm", ("unique", "random", 256),
                                          page_us, "steady"))
    print(LINE % ("figure", "stock", "ours", "", "ratio", "spread", "target", "met"))
    for name, unit, run, how, stretch, target in rows():
        values = [of_turns(results, kernel, run, how, stretch) for kernel in KERNELS]
        if not all(values):
            continue
        stock, ours = map(statistics.median, values)
        print(LINE % (name, number(stock), number(ours), unit, number(ours / stock),
                      percent(*values), *judge(target, stock, ours, friendly)))


def steady(results, mib):
    """Medians of the two kernels, None where that was not measured."""
    values = [of_turns(results, kernel, ("unique", "random", mib), page_us, "steady")
              for kernel in KERNELS]
    return [statistics.median(v) for v in values] if all(values) else None


def print_growth(results):
    ends = [steady(results, mib) for mib in (SIZES[0], SIZES[-1])]
    if not all(ends):
        return
    stock, ours = (large / small for small, large in zip(*ends))
    print(LINE % ("unique, steady, 4 GiB over 256 MiB", number(stock), number(ours), "times",
                  number(ours / stock), "", "<= 1.5", "yes" if ours <= 1.5 else "no"))


# ---------------------------------------------------------------- without a kernel

def choice():
    """Nanoseconds of choosing the next cgroup, by how many there are."""
    program = os.path.join(uml.BUILD, "bench", "choice")
    subprocess.run(["gcc", "-O2", "-I" + os.path.join(TOP, "bench", "user"),
                    "-I" + os.path.join(TREE, "tools", "include"), "-o", program,
                    os.path.join(TOP, "bench", "choice.c"),
                    os.path.join(TREE, "tools", "lib", "rbtree.c")], check=True)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {int(groups): float(ns) for groups, ns in map(str.split, out.splitlines())}


def print_choice(results):
    """The first number of cgroups and the last."""
    turns = results["choice"]
    numbers = sorted(turns[0])
    ns = [[turn[groups] for turn in turns] for groups in numbers]
    few, many = statistics.median(ns[0]), statistics.median(ns[-1])
    print(LINE % ("choosing the next of %s cgroups" % numbers[0], "", number(few), "ns", "",
                  percent(ns[0]), "", ""))
    print(LINE % ("choosing the next of %s cgroups" % numbers[-1], "", number(many), "ns", "",
                  percent(ns[-1]), "<= 2 of %s" % numbers[0], "yes" if many <= 2 * few else "no"))


def sizes():
    """Text and data of the kernels that are built: those in user mode, the VM's."""
    result = {}
    for name, folders in (("user mode", ("um-stock", "um")),
                          ("the VM's, with unit tests", ("stock", "ksm"))):
        paths = [os.path.join(uml.BUILD, "obj", folder, "vmlinux") for folder in folders]
        if all(map(os.path.exists, paths)):
            out = subprocess.run(["size", *paths], check=True, capture_output=True,
                                 text=True).stdout
            result[name] = [list(map(int, re.findall(r"\d+", line)[:2]))
                            for line in out.splitlines()[1:]]
    return result


def print_sizes(results):
    for name, (stock, ours) in results["sizes"].items():
        for i, what in enumerate(("text", "data")):
            print(LINE % ("%s, %s" % (what, name), stock[i], ours[i], "bytes",
                          "%+d" % (ours[i] - stock[i]), "", "", ""))


def part(save):
    quick = bool(os.environ.get("QUICK"))
    turns = 1 if quick else TURNS
    runs = possible(QUICK if quick else WHOLE)
    results = {"stock": [], "ksm": [], "choice": [], "sizes": sizes()}
    uml.prepare()
    with uml.many_maps():
        for turn in range(turns):
            for kernel in KERNELS:
                say("scanning, the %s kernel, %d of %d" % (kernel, turn + 1, turns))
                results[kernel].append(measure(runs, kernel))
            results["choice"].append(choice())
            save("scan", results)
    report(results)


def report(results):
    print_rows(results)
    print_growth(results)
    print_choice(results)
    print_sizes(results)
    points = [(mib, steady(results, mib)) for mib in SIZES]
    with open(os.path.join(uml.BUILD, "bench", "scan.svg"), "w") as stream:
        stream.write(plot.scan([point for point in points if point[1]]))
    print("plot: build/bench/scan.svg")
