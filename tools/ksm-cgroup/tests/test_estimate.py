# SPDX-License-Identifier: GPL-2.0
"""estimate: processes with memory of which it is known what merging would save."""
import contextlib
import json
import os
import random
import re
import subprocess
import sys

from recorded import Tree, has, lacks, on_terminal, same, tool
from run import Skip

PAGE = 4096
SLACK = 300                     # pages: what an interpreter has besides

# Fills pages as it is told, COPIES of each of DIFFERENT contents, ZERO and ALONE ones.
HOLD = """
import ctypes, mmap, os, random, sys
different, copies, zero, alone, seed, fork, advice = map(int, sys.argv[1:])
libc = ctypes.CDLL(None)
total = different * copies + zero + alone
# A page that is never written to is the zero page, and no memory.
area = mmap.mmap(-1, (total + 600) * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if advice > 0:
    area.madvise(advice)
random.seed(seed)
at = 0
for number in range(different):
    page = random.randbytes(4096)
    for copy in range(copies):
        area[at:at + 4096] = page
        at += 4096
for number in range(zero):
    area[at:at + 4096] = bytes(4096)
    at += 4096
own = random.Random(os.getpid())
rest = random.randbytes(4088)
for number in range(alone):
    # Pages can differ where they begin or end, and be the same elsewhere.
    word = own.randbytes(8)
    area[at:at + 4096] = word + rest if number % 2 else rest + word
    at += 4096
for offset in range(at, len(area), 4096):
    area[offset]
if advice < 0:
    libc.mlockall(5)            # as it is, nothing is faulted in
if fork == 2:
    # One that has this memory, too: CLONE_VM, and SIGCHLD at its end.
    stack = ctypes.create_string_buffer(65536)
    top = (ctypes.addressof(stack) + 65536) & ~15
    libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), ctypes.c_void_p(top), 0x100 | 17, None)
elif fork and not os.fork():
    # Nor is a page of the child's own made here.
    libc.pause()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(different=0, copies=0, zero=0, alone=0, seed=1, fork=0, advice=0, user=None):
    child = subprocess.Popen(
        [PYTHON, "-c", HOLD] + [str(number) for number in (different, copies, zero, alone, seed,
                                                           fork, advice)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, user=user, group=user,
        extra_groups=None if user is None else [])
    try:
        same(child.stdout.readline(), b"ready\n")
        yield child.pid
    finally:
        os.killpg(child.pid, 9)
        child.communicate()


PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def estimate(*words, **more):
    status, out, error = tool("estimate", "-J", "-b", "-r", "max", *words, **more)
    same((status, error), (0, ""))
    return [{key: value if key in ("domain", "part", "procs") or value is None else value // PAGE
             for key, value in line.items()} for line in json.loads(out)["estimates"]]


def need_root():
    if os.geteuid():
        raise Skip("only root may read frame numbers")


def near(value, wanted, slack=SLACK):
    assert wanted <= value <= wanted + slack, "%d is not within %d and %d" % (
        value, wanted, wanted + slack)


def test_copies():
    """copies are counted, pages that are alone are not"""
    need_root()
    with holding(different=1000, copies=3, alone=1000) as pid:
        line = estimate(pid)[0]
        near(line["saves"], 2000)
        assert line["memory"] >= 4000 and line["zero"] < SLACK, line


def test_zero():
    """zero pages apart; what was never written to is no memory"""
    need_root()
    with holding(zero=1000, alone=500) as pid:
        line = estimate(pid)[0]
        near(line["zero"], 1000 - 1000 // 256 - 1)
        near(line["saves"], 1000 - 1000 // 256 - 1)


def test_max_sharing():
    """a frame takes max_page_sharing mappings; use_zero_pages saves all"""
    need_root()
    with holding(different=1, copies=1024, zero=4000) as pid:
        with Tree({"/": {}}, max_page_sharing=2, use_zero_pages=1) as tree:
            for name in (str(pid), "kpageflags"):
                os.symlink("/proc/" + name, tree.path("proc/" + name))
            line = estimate(pid, env={"KSM_CGROUP_ROOT": tree.root})[0]
            near(line["saves"], 512 + 4000)
            near(line["zero"], 4000)


def test_together():
    """each in a domain of its own, and all in one"""
    need_root()
    with holding(different=1000, copies=1) as one, holding(different=1000, copies=2) as two:
        alone, double, both = estimate(one, two)
        near(alone["saves"], 0)
        near(double["saves"], 1000)
        near(both["saves"], 2000, 3 * SLACK)
        same((both["domain"], both["procs"]), ("together", 2))
        assert abs(both["memory"] - alone["memory"] - double["memory"]) < SLACK
        twice = estimate(one, one)
        near(twice[2]["saves"], 0)
        same(twice[2]["procs"], 1)


def test_fork():
    """what fork shares is counted once"""
    need_root()
    with holding(different=1000, copies=2, fork=1) as pid:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
        lines = estimate(pid, int(found.stdout))
        near(lines[2]["saves"], 1000, 2 * SLACK)
        assert lines[2]["memory"] < 2000 + 6 * SLACK, lines[2]
        # Reading unshared nothing: it is the same a second time.
        assert estimate(pid, int(found.stdout))[2]["memory"] < lines[2]["memory"] + SLACK


def test_one_space():
    """what has one address space is counted once, in a domain and together"""
    need_root()
    with holding(different=1000, copies=2, fork=2) as pid:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
        other = int(found.stdout)
        alone, again, both = estimate(pid, other)
        near(alone["saves"], 1000)
        same(alone["memory"], again["memory"])
        assert abs(both["memory"] - alone["memory"]) < SLACK, both
        near(both["saves"], 1000)
        same(both["procs"], 2)
        with Tree({"/": {}, "/box": {"pids": [pid, other]}}) as tree:
            for name in (str(pid), str(other), "kpageflags"):
                os.symlink("/proc/" + name, tree.path("proc/" + name))
            line = estimate("/box", env={"KSM_CGROUP_ROOT": tree.root})[0]
            same(line["procs"], 2)
            assert abs(line["memory"] - alone["memory"]) < SLACK, line
            near(line["saves"], 1000)


def test_cgroup():
    """a cgroup: all of its processes and of those below"""
    need_root()
    with holding(different=1000, copies=1) as one, holding(different=1000, copies=1) as two:
        with Tree({"/": {}, "/box": {"pids": [one]}, "/box/in": {"pids": [two]}}) as tree:
            for name in (str(one), str(two), "kpageflags"):
                os.symlink("/proc/" + name, tree.path("proc/" + name))
            line = estimate("/box", env={"KSM_CGROUP_ROOT": tree.root})[0]
            same((line["domain"], line["procs"]), ("/box", 2))
            near(line["saves"], 1000, 2 * SLACK)


def test_left_out():
    """what a 1 leaves alone is left out, unless memory.ksm.types takes it in"""
    need_root()
    # MADV_DONTDUMP, MADV_WIPEONFORK, mlockall()
    for advice, types in ((16, "dontdump"), (18, None), (-1, "locked")):
        with holding(different=1000, copies=3, advice=advice) as pid:
            near(estimate(pid)[0]["saves"], 0)
            for word in ("dontdump", "locked"):
                with Tree({"/": {"types": "anon " + word}}) as tree:
                    for name in (str(pid), "kpageflags"):
                        os.symlink("/proc/" + name, tree.path("proc/" + name))
                    line = estimate(pid, env={"KSM_CGROUP_ROOT": tree.root})[0]
                    near(line["saves"], 2000 if word == types else 0)


def test_sample():
    """a sample comes near, and its interval has a width and holds the certain part"""
    need_root()
    with holding(different=2000, copies=3, zero=1000, alone=1000) as pid:
        whole = estimate(pid)[0]
        line = estimate("-s", 4, pid)[0]
        assert abs(line["saves"] - whole["saves"]) < 0.25 * whole["saves"], (line, whole)
        assert line["zero"] <= line["low"] < line["saves"] < line["high"], line
        assert abs(line["memory"] - whole["memory"]) < SLACK
        same(set(whole) & {"low", "high"}, set())


def test_sample_average():
    """the mean of many samples is what is saved in fact"""
    need_root()
    with holding(different=1000, copies=4) as pid:
        whole = estimate(pid)[0]["saves"]
        drawn = [estimate("-s", 8, pid)[0]["saves"] for unused in range(24)]
        mean = sum(drawn) / len(drawn)
        assert abs(mean - whole) < 0.12 * whole, (mean, whole)
        assert len(set(drawn)) > 3, "each run draws anew"


def test_few():
    """nothing drawn: the interval says how much could have been missed"""
    need_root()
    with holding(alone=500) as pid:
        status, out, error = tool("estimate", "-J", "-b", "-s", "1000000", pid)
        same(status, 0)
        has(error, "LOW and HIGH are rough")
        line = json.loads(out)["estimates"][0]
        assert line["high"] > line["saves"], line


def test_rate():
    """the rate is kept"""
    need_root()
    import time
    with holding(alone=2048) as pid:
        start = time.monotonic()
        tool("estimate", "-r", "8M", pid)
        assert time.monotonic() - start > 0.9


def test_bar():
    """on a terminal a bar shows how far it is, and goes away"""
    need_root()
    with holding(alone=2048) as pid:
        status, text = on_terminal("estimate", "-r", "8M", pid)
        same(status, 0)
        has(text, "%d [" % pid, "###", "\r\x1b[K")
        assert re.search(r"##  .* [4-6]\d%", text), text
        assert text.rindex("\x1b[K") < text.index("SAVES"), text


def test_not_permitted():
    """another user's process: the file, the errno and what to do"""
    need_root()
    with holding(alone=10) as pid:
        status, out, error = tool("estimate", pid, user=65534, group=65534, extra_groups=[])
        same((status, out), (1, ""))
        has(error, "/proc/%d/" % pid, "Permission denied", "run this as root")


def test_blind():
    """without frame numbers it says what it can't tell"""
    need_root()
    with holding(different=500, copies=3, user=65534) as pid:
        status, out, error = tool("estimate", "-J", "-b", pid, user=65534, group=65534,
                                  extra_groups=[])
        same(status, 0)
        has(error, "CAP_SYS_ADMIN")
        near(json.loads(out)["estimates"][0]["saves"] // PAGE, 1000)


def test_usage():
    """wrong options, and processes that there are not"""
    for words, reason in (((), "which CGROUP or PID"), (("-s", "0", "1"), "from 1 to"),
                          (("-r", "fast", "1"), "no rate"), (("-r", "1", "1"), "no rate"),
                          (("--nope", "1"), "bad option")):
        status, unused, error = tool("estimate", *words)
        same(status, 2)
        has(error, reason)
    status, unused, error = tool("estimate", 999999999)
    same(status, 1)
    has(error, "no such process")


def test_random():
    """memory without copies saves nothing, whole or sampled"""
    need_root()
    random.seed(5)
    with holding(alone=2000) as pid:
        near(estimate(pid)[0]["saves"], 0)
        lacks(tool("estimate", pid)[1], "LOW")
