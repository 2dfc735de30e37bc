# SPDX-License-Identifier: GPL-2.0
"""Recorded trees: /sys/fs/cgroup, /sys/kernel/mm/ksm and /proc as a kernel
would show them, made from a few lines of description.

    Tree({"/": {}, "/box": {"ksm": "1", "pids": [100]}}, run=1)

A cgroup's keys: ksm, ungranted (ksm was written without CAP_SYS_ADMIN), domain,
types, weight, pids, stat (a dict), anon, swap, memory, max, type, no_memory (the
controller is not handed down to it), files (name: text).
"""
import os
import subprocess
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.abspath(os.environ.get("KSM_CGROUP_TOOL", os.path.join(HERE, "..", "ksm-cgroup")))

STAT = """ksm_merging_pages pages_shared pages_sharing ksm_zero_pages pages_unshared
    pages_volatile pages_foreign pages_pending pages_saved ksm_metadata_bytes general_profit
    processes pages_scanned pages_skipped pages_merged pages_unmerged cow_breaks merge_failures
    scan_usec full_scans""".split()
HOST = {"run": 0, "run_cgroups": 1, "pages_to_scan": 100, "sleep_millisecs": 20, "full_scans": 7,
        "pages_shared": 0, "pages_sharing": 0, "ksm_zero_pages": 0, "pages_unshared": 0,
        "pages_volatile": 0, "general_profit": 0, "pages_scanned": 0, "pages_skipped": 0,
        "max_page_sharing": 256, "merge_across_nodes": 1, "use_zero_pages": 0,
        "smart_scan": 1, "advisor_mode": "[none] scan-time"}


class Tree:
    def __init__(self, cgroups, processes=None, stock=False, mounts=True, **host):
        self.folder = tempfile.TemporaryDirectory(prefix="ksm-cgroup-test.")
        self.root = self.folder.name
        self.cgroups, self.stock = cgroups, stock
        if mounts:
            self.write("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0")
        else:
            self.write("proc/mounts", "proc /proc proc rw 0 0")
        for path, about in cgroups.items():
            self.cgroup(path, about)
        if host.get("run") is not None or "run" not in host:
            files = dict(HOST)
            if stock:
                files["run"] = files.pop("run_cgroups")
            for name, value in dict(files, **host).items():
                self.write("sys/kernel/mm/ksm/" + name, value)
        for pid, about in (processes or {}).items():
            self.process(pid, **about)
        if "self" not in (processes or {}):
            self.process("self", cgroup="/")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as stream:
            stream.write("%s\n" % text)

    def read(self, name):
        with open(self.path(name)) as stream:
            return stream.read().strip()

    def own(self, path):
        return self.cgroups.get(path, {}).get("ksm", "inherit" if path != "/" else "madvise")

    @staticmethod
    def line(path):
        """A cgroup and its ancestors, up to the root."""
        line = [path]
        while line[-1] != "/":
            line.append(os.path.dirname(line[-1]))
        return line

    def granted(self, path):
        return self.own(path) != "inherit" and not self.cgroups.get(path, {}).get("ungranted")

    def counts(self, path):
        above = [self.own(part) for part in self.line(path)[1:] if self.granted(part)]
        return self.own(path) != "inherit" and (self.granted(path) or above[:1] == ["1"])

    def effective(self, path):
        line = self.line(path)
        if "0" in [self.own(part) for part in line]:
            return "0"
        return ([self.own(part) for part in line if self.counts(part)] + ["madvise"])[0]

    def cgroup(self, path, about):
        folder = "sys/fs/cgroup" + path.rstrip("/") + "/"
        files = {"cgroup.procs": "\n".join(str(pid) for pid in about.get("pids", ())),
                 "cgroup.controllers": about.get("controllers", "cpu memory pids"),
                 "cgroup.subtree_control": about.get("subtree_control", "cpu memory pids")}
        if path != "/":
            files["cgroup.type"] = about.get("type", "domain")
        if not about.get("no_memory") and about.get("type") != "threaded":
            if not self.stock:
                files.update(self.ours(path, about))
            files["memory.stat"] = "anon %d\nfile 0" % about.get("anon", 64 << 20)
            if path != "/":
                files["memory.current"] = about.get("memory", 64 << 20)
                files["memory.max"] = about.get("max", "max")
                files["memory.swap.current"] = about.get("swap", 0)
        files.update(about.get("files", {}))
        for name, text in files.items():
            self.write(folder + name, text)

    def ours(self, path, about):
        stat = dict.fromkeys(STAT, 0)
        stat.update(about.get("stat", {}))
        files = {"memory.ksm": self.own(path), "memory.ksm.effective": self.effective(path),
                 "memory.ksm.types": about.get("types", "inherit" if path != "/" else "anon"),
                 "memory.ksm.scan": "",
                 "memory.ksm.stat": "\n".join("%s %s" % item for item in stat.items())}
        if path != "/":
            files["memory.ksm.domain"] = about.get("domain", "self")
            files["memory.ksm.weight"] = about.get("weight", 100)
        return files

    def process(self, pid, cgroup="/", comm="worker", merging=0, zero=0, items=0, profit=0,
                any_="no", mergeable="no", policy="default", text=None, command=None, status=None,
                kvm=False):
        """command: the words of the command line; status: lines of that name, in KiB."""
        if text is None:
            text = ("ksm_rmap_items %d\nksm_zero_pages %d\nksm_merging_pages %d\n"
                    "ksm_process_profit %d" % (items, zero, merging, profit))
            if any_:
                text += "\nksm_merge_any: %s\nksm_mergeable: %s" % (any_, mergeable)
            if not self.stock:
                text += "\nksm_policy: " + policy
        self.write("proc/%s/comm" % pid, comm)
        self.write("proc/%s/cgroup" % pid, "0::" + cgroup)
        self.write("proc/%s/ksm_stat" % pid, text)
        if command:
            with open(self.path("proc/%s/cmdline" % pid), "w") as stream:
                stream.write("".join(word + "\0" for word in command))
        if status:
            self.write("proc/%s/status" % pid,
                       "Name:\t%s\n%s" % (comm, "\n".join("%s:\t%8d kB" % line
                                                         for line in status.items())))
        os.makedirs(self.path("proc/%s/fd" % pid), exist_ok=True)
        if kvm:
            os.symlink("anon_inode:kvm-vm", self.path("proc/%s/fd/11" % pid))

    def run(self, *arguments, env=None, **more):
        """The tool on this tree: (exit status, standard output, standard error)."""
        return tool(*arguments, env=dict({"KSM_CGROUP_ROOT": self.root}, **(env or {})), **more)


def tool(*arguments, env=None, timeout=60, **more):
    whole = dict(os.environ, LC_ALL="C.UTF-8", COLUMNS="200", **(env or {}))
    done = subprocess.run([TOOL] + [str(word) for word in arguments], capture_output=True,
                          text=True, env=whole, timeout=timeout, check=False,
                          stdin=subprocess.DEVNULL, **more)
    return done.returncode, done.stdout, done.stderr


def on_terminal(*arguments, env=None, timeout=60):
    """The tool with a terminal for its messages: (exit status, what was on it)."""
    master, slave = os.openpty()
    child = subprocess.Popen([TOOL] + [str(word) for word in arguments], stdin=slave, stdout=slave,
                             stderr=slave, env=dict(os.environ, LC_ALL="C.UTF-8", **(env or {})))
    os.close(slave)
    late = threading.Timer(timeout, child.kill)
    late.start()
    text = b""
    try:
        while True:
            text += os.read(master, 4096)
    except OSError:
        pass                    # the other end is closed
    late.cancel()
    os.close(master)
    return child.wait(), text.decode()


def has(text, *wanted):
    for part in wanted:
        assert part in text, "%r is not in:\n%s" % (part, text)


def lacks(text, *unwanted):
    for part in unwanted:
        assert part not in text, "%r is in:\n%s" % (part, text)


def same(value, wanted):
    assert value == wanted, "it is %r, not %r" % (value, wanted)
