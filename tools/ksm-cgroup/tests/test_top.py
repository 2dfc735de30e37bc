# SPDX-License-Identifier: GPL-2.0
"""top: what is on the screen, in a terminal that tmux plays."""
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

from recorded import STAT, TOOL, Tree, has, lacks, on_terminal, same, tool
from run import Skip


class Screen:
    """A terminal with a command in it."""
    def __init__(self, tree, *arguments, width=120, height=20):
        if not shutil.which("tmux"):
            raise Skip("no tmux")
        self.folder = tempfile.TemporaryDirectory(prefix="ksm-cgroup-tmux.")
        self.tmux = ["tmux", "-S", os.path.join(self.folder.name, "socket"), "-f", "/dev/null"]
        command = "KSM_CGROUP_ROOT=%s LC_ALL=C.UTF-8 %s top %s; echo status $?; cat" % (
            tree.root, TOOL, " ".join(arguments))
        self.do("new-session", "-d", "-x", str(width), "-y", str(height), command)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.do("kill-server", check=False)
        self.folder.cleanup()

    def do(self, *words, check=True):
        return subprocess.run(self.tmux + list(words), capture_output=True, text=True,
                              check=check, env=dict(os.environ, LC_ALL="C.UTF-8")).stdout

    def keys(self, *keys):
        self.do("send-keys", *keys)

    def resize(self, width, height):
        self.do("resize-window", "-x", str(width), "-y", str(height))

    def text(self):
        return self.do("capture-pane", "-p")

    def until(self, condition, seconds=20):
        """The screen, as soon as it is as wanted."""
        end = time.monotonic() + seconds
        while True:
            text = self.text()
            if condition(text):
                return text
            assert time.monotonic() < end, "never seen; the screen is:\n" + text
            time.sleep(0.05)

    def shows(self, *parts):
        return self.until(lambda text: all(part in text for part in parts))


def stat(**values):
    return "\n".join("%s %s" % (key, values.get(key, 0)) for key in STAT)


def boxes(**more):
    return Tree({"/": {}, "/a": {"stat": {"ksm_merging_pages": 512, "pages_saved": 256}},
                 "/b": {"stat": {"ksm_merging_pages": 2560, "pages_sharing": 1920,
                         "pages_saved": 1280}}, "/c": {}},
                **more)


def lines(text):
    """The cgroups on the screen, in their order."""
    return [line.split()[-1] for line in text.splitlines()[5:] if line.strip()]


def test_shows():
    """figures, order and header"""
    with boxes() as tree, Screen(tree, "-d", "0.2") as screen:
        text = screen.shows("4 of 4 cgroups, by saved", "run 0, run_cgroups 1", "SCAN%", "5.0M", "10.0M")
        same(lines(text), ["/b", "/a", "/", "/c"])
        screen.keys("q")
        screen.shows("status 0")


def test_keys():
    """order, hiding what merges nothing, stopping, help"""
    with boxes() as tree, Screen(tree, "-d", "0.2") as screen:
        screen.shows("by saved")
        screen.keys("n")
        same(lines(screen.shows("by path")), ["/", "/a", "/b", "/c"])
        for key, name in (("p", "share"), ("m", "merges"), ("c", "cost"), ("s", "saved")):
            screen.keys(key)
            screen.shows("by " + name)
        screen.keys("z")
        same(lines(screen.shows("2 of 4 cgroups")), ["/b", "/a"])
        screen.keys("d")
        screen.shows("stopped")
        screen.keys("?")
        screen.shows("Keys", "quit")


def test_rates():
    """shares of the scanning, merges a second, and the trend"""
    stop = threading.Event()

    def scan(tree):
        step = 0
        while not stop.wait(0.02):
            step += 1
            for name, part in (("", 4), ("a/", 3), ("b/", 1)):
                path = "sys/fs/cgroup/%smemory.ksm.stat" % name
                # As the kernel's files: whole at any moment.
                tree.write(path + ".new", stat(scan_usec=step * part * 100, pages_scanned=step,
                                               pages_merged=step * part, pages_saved=step))
                os.rename(tree.path(path + ".new"), tree.path(path))

    with boxes() as tree, Screen(tree, "-d", "0.5") as screen:
        screen.shows("by saved")
        writer = threading.Thread(target=scan, args=(tree,))
        writer.start()
        try:
            text = screen.until(lambda text: re.search(r" 7\d\.\d \|+ .*[▁▂▃▄▅▆▇█]+ /a$", text, re.M))
        finally:
            stop.set()
            writer.join()
        # When nothing is done any more, that shows, too.
        screen.until(lambda text: re.search(r"^ +0\.0 +0 .* /a$", text, re.M))
        line = [line for line in text.splitlines() if line.endswith("/a")][0]
        assert any(bar in line for bar in "▁▂▃▄▅▆▇█"), line
        assert float(line.split("|")[-1].split()[0]) > 0, line


def test_vanish():
    """cgroups come and go; when the one that is watched goes, it ends and says so"""
    with boxes() as tree, Screen(tree, "-d", "0.2", "/b") as screen:
        screen.shows("1 of 1 cgroups")
        tree.cgroup("/b/new", {})
        screen.shows("2 of 2 cgroups", "/b/new")
        shutil.rmtree(tree.path("sys/fs/cgroup/b/new"))
        screen.shows("1 of 1 cgroups")
        shutil.rmtree(tree.path("sys/fs/cgroup/b"))
        screen.shows("/b is gone", "status 1")


def test_made_again():
    """a cgroup that was made again has no rates from before"""
    with boxes() as tree, Screen(tree, "-d", "0.3") as screen:
        tree.write("sys/fs/cgroup/a/memory.ksm.stat", stat(pages_scanned=900, pages_merged=500))
        screen.shows("by saved")
        time.sleep(0.5)
        tree.write("sys/fs/cgroup/a/memory.ksm.stat", stat(pages_scanned=1, pages_merged=1))
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            lacks([line for line in screen.text().splitlines() if line.endswith("/a")][0], " -")
            time.sleep(0.05)


def test_resize():
    """any size of the terminal, also the smallest"""
    with boxes() as tree, Screen(tree, "-d", "0.2") as screen:
        screen.shows("by saved")
        for width, height in ((40, 8), (10, 2), (1, 1), (200, 50), (80, 24)):
            screen.resize(width, height)
            time.sleep(0.3)
        text = screen.shows("SCAN%", "/b")
        same(lines(text), ["/b", "/a", "/", "/c"])


def test_many():
    """10,000 cgroups: it moves among them, and a look does not become a load"""
    cgroups = {"/": {}}
    for number in range(100):
        cgroups["/%02d" % number] = {}
    with Tree(cgroups) as tree:
        for number in range(9900):
            folder = tree.path("sys/fs/cgroup/%02d/%04d" % (number % 100, number))
            os.mkdir(folder)
            os.link(tree.path("sys/fs/cgroup/00/memory.ksm.stat"), folder + "/memory.ksm.stat")
        with Screen(tree, "-d", "0.1", "-o", "path") as screen:
            text = screen.shows("10001 of 10001", "/00/0000")
            screen.keys("End")
            screen.shows("/99/9899")
            screen.keys("PgUp")
            screen.until(lambda text: "/99/9899" not in text)
            screen.keys("Home")
            screen.shows("/00/0000")
            has(text, "a look takes")
            pid = subprocess.run(["pgrep", "-f", TOOL + " top -d 0.1 -o path"],
                                 capture_output=True, text=True, check=True).stdout.split()[-1]
            used = cpu_seconds(pid)
            time.sleep(3)
            assert cpu_seconds(pid) - used < 1.2, cpu_seconds(pid) - used


def cpu_seconds(pid):
    with open("/proc/%s/stat" % pid) as stream:
        fields = stream.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_stock():
    """on another kernel it shows what there is, and says so"""
    with Tree({"/": {}, "/s": {"pids": [1]}}, {1: {"merging": 256}}, stock=True) as tree:
        with Screen(tree, "-d", "0.2") as screen:
            screen.shows("no memory.ksm", "1.0M")


def test_stopped():
    """a scanner that is stopped is told"""
    for run, cgroups in ((0, 0), (2, 1)):
        with boxes(run=run, run_cgroups=cgroups) as tree, Screen(tree, "-d", "0.2") as screen:
            screen.shows("run %d, run_cgroups %d (the scanner is stopped)" % (run, cgroups))


def test_iterations():
    """-n ends it"""
    with boxes() as tree, Screen(tree, "-n", "2", "-d", "0.1") as screen:
        screen.shows("status 0")


def test_errors():
    """no terminal; options that make no sense"""
    with boxes() as tree:
        status, unused, error = tree.run("top")
        same(status, 1)
        has(error, "no terminal", "ksm-cgroup list")
        status, text = on_terminal("top", env={"KSM_CGROUP_ROOT": tree.root, "TERM": "nonsense"})
        same(status, 1)
        has(text, "the terminal 'nonsense' is not known")
        for words, reason in ((("-d", "0"), "no delay"), (("-d", "x"), "no delay"),
                              (("-n", "0"), "no number"), (("-o", "size"), "no order"),
                              (("--nope",), "bad option"), (("a", "b"), "one CGROUP")):
            status, unused, error = tool("top", *words)
            same(status, 2)
            has(error, reason)
