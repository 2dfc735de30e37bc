#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The main job, shown: four containers, merged from outside and unmerged.

Four containers under crun, each a redis-server with the same data set of 67 MiB,
none of which knows of merging. What is done and shown:

1. 1 into each container's memory.ksm: savings within each.
2. 1 into their parent's, with the containers inheriting: savings across them.
3. Some keys are changed in one container: sharing goes where was written, and
   nowhere else, and the data of all four is what it should be, by redis's own
   DEBUG DIGEST, compared with a fifth server that was never merged.

Exits with 1 if any of that is not so. Runs as root in the test machine; make
demo starts it there.
"""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

CGROUP = "/sys/fs/cgroup"
KSM = "/sys/kernel/mm/ksm"
TOP = "ksmdemo"
APART = "ksmdemo-unmerged"
ROOTFS_TAR = "/usr/local/share/redis-container.tar"
NAMES = ("red", "green", "blue", "white")
BOUND = 900                     # seconds until a wait counts as a hang

# The data: values of a size that the server's allocator gives a page each. Every
# third is a copy of the one before it under another name, as caches and
# snapshots keep them; the others differ.
VALUES = 17280
VALUE_SIZE = 4096 - 6           # the server adds five bytes before and one after
COPIES = VALUES // 3
CHANGED = range(0, VALUES, 10)
PAGE = 4096

failures = []


def say(text=""):
    print(text, flush=True)


def check(claim, holds, detail=""):
    say("  %s  %s%s" % ("ok  " if holds else "FAIL", claim, " (%s)" % detail if detail else ""))
    if not holds:
        failures.append(claim)


def read(*path):
    with open(os.path.join(*path)) as stream:
        return stream.read().strip()


def write(value, *path):
    with open(os.path.join(*path), "w") as stream:
        stream.write(str(value))


def wait_for(what, condition):
    end = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > end:
            sys.exit("demo: %s: not within %d s" % (what, BOUND))
        time.sleep(0.2)


def command(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Redis:
    """A client, in as much of the protocol as is needed here."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def pipeline(self, commands):
        """Many commands, a hundred at a time; their answers are not looked at."""
        for start in range(0, len(commands), 100):
            some = commands[start:start + 100]
            self.sock.sendall(b"".join(some))
            for unused in some:
                self.answer()

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        if line[:1] == b"-":
            sys.exit("demo: redis says " + line.decode())
        if line[:1] == b"$":
            data = self.file.read(int(line[1:]) + 2)[:-2]
            return data.decode()
        return line[1:].decode()

    def __call__(self, *words):
        self.sock.sendall(command(*words))
        return self.answer()

    def digest(self):
        return self("DEBUG", "DIGEST")


def data_set():
    """The commands that load it; the same for every server."""
    commands = []
    for number in range(VALUES):
        kind = number - 1 if number % 3 == 2 else number
        value = struct.pack("<Q", kind * 0x9e3779b97f4a7c15 & (1 << 64) - 1) * 512
        commands.append(command("SET", "key:%06d" % number, value[:VALUE_SIZE]))
    return commands


class Container:
    def __init__(self, name, rootfs, work, parent=TOP):
        self.name = name
        self.cgroup = os.path.join(CGROUP, parent, name)
        self.bundle = os.path.join(work, name)
        self.run_dir = os.path.join(self.bundle, "run")
        os.makedirs(self.run_dir)
        write(json.dumps(self.config(rootfs), indent=1), self.bundle, "config.json")

    def config(self, rootfs):
        """A minimal container: own processes, mounts and names, no network."""
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/data", "type": "bind", "source": self.run_dir,
             "options": ["rbind", "rw"]},
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/tmp",
                "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": True,
                "args": ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/data/sock",
                         "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
                         "--activedefrag", "no", "--dir", "/tmp"],
            },
            "root": {"path": rootfs, "readonly": True},
            "hostname": self.name,
            "mounts": mounts,
            "linux": {
                "cgroupsPath": self.cgroup[len(CGROUP):],
                "namespaces": [{"type": kind} for kind in
                               ("pid", "mount", "ipc", "uts", "network", "cgroup")],
            },
        }

    def start(self):
        subprocess.run(["crun", "--cgroup-manager=cgroupfs", "run", "--detach", "--bundle",
                        self.bundle, "ksmdemo-" + self.name], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        sock = os.path.join(self.run_dir, "sock")
        wait_for("redis in " + self.name, lambda: os.path.exists(sock))
        self.redis = Redis(sock)

    def stat(self, key):
        return stat_of(self.cgroup, key)

    def pids(self):
        """The processes of the container, in cgroups of its own as well."""
        found = []
        for top, unused, names in os.walk(self.cgroup):
            if "cgroup.procs" in names:
                found += read(top, "cgroup.procs").split()
        return found

    def merging(self):
        return sum(int(read("/proc", pid, "ksm_merging_pages")) for pid in self.pids())

    def stop(self):
        subprocess.run(["crun", "--cgroup-manager=cgroupfs", "delete", "--force",
                        "ksmdemo-" + self.name], check=False, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stat_of(cgroup, key):
    for line in read(cgroup, "memory.ksm.stat").splitlines():
        name, value = line.split()
        if name == key:
            return int(value)
    sys.exit("demo: no %s in %s/memory.ksm.stat" % (key, cgroup))


def settle():
    """Until two full scans have gained nothing; the time they took."""
    start = time.monotonic()
    saved, calm = -1, 0
    while calm < 2:
        scans = int(read(KSM, "full_scans"))
        wait_for("a full scan", lambda scans=scans: int(read(KSM, "full_scans")) > scans)
        now = int(read(KSM, "pages_sharing")) + int(read(KSM, "ksm_zero_pages"))
        calm = calm + 1 if now <= saved else 0
        saved = now
    return time.monotonic() - start


def mib(size):
    return "%.1f" % (size / (1 << 20))


def row(name, cgroup, merging):
    saved = stat_of(cgroup, "pages_sharing") + stat_of(cgroup, "ksm_zero_pages")
    return (name, mib(int(read(cgroup, "memory.current"))), str(merging),
            str(stat_of(cgroup, "ksm_zero_pages")), mib(saved * PAGE),
            "%d" % (stat_of(cgroup, "ksm_metadata_bytes") >> 10),
            "%d" % (stat_of(cgroup, "scan_usec") // 1000))


def table(title, containers):
    rows = [("container", "memory.current", "merged", "zero", "saved", "metadata", "scan CPU"),
            ("", "MiB", "pages", "pages", "MiB", "KiB", "ms")]
    rows += [row(c.name, c.cgroup, c.merging()) for c in containers]
    rows.append(row("together", os.path.join(CGROUP, TOP), sum(c.merging() for c in containers)))
    say("\n" + title)
    for cells in rows:
        say("  %-10s" % cells[0] + "".join("%16s" % cell for cell in cells[1:]))


def total():
    return int(read(CGROUP, TOP, "memory.current"))


def saved_pages(cgroup):
    return stat_of(cgroup, "pages_sharing") + stat_of(cgroup, "ksm_zero_pages")


def within(containers):
    top = os.path.join(CGROUP, TOP)
    for container in containers:
        write(1, container.cgroup, "memory.ksm")
    took = settle()
    table("1 in each container's memory.ksm: savings within each (settled in %.0f s)" % took,
          containers)
    for container in containers:
        check("%s has merged its copies" % container.name,
              saved_pages(container.cgroup) >= COPIES * 9 // 10,
              "%d pages saved, of which %d were to be" % (saved_pages(container.cgroup), COPIES))
        check("%s needs frames of its own for them" % container.name,
              container.stat("pages_shared") >= COPIES * 9 // 10,
              "%d frames" % container.stat("pages_shared"))
    return saved_pages(top)


def across(containers, before):
    top = os.path.join(CGROUP, TOP)
    write(1, top, "memory.ksm")
    for container in containers:
        write("inherit", container.cgroup, "memory.ksm")
    took = settle()
    table("1 in their parent's, the containers inherit: savings across (settled in %.0f s)"
          % took, containers)
    could = len(containers) * VALUES - (VALUES - COPIES)
    check("the copies of one container are the others' too",
          saved_pages(top) >= could * 9 // 10 and saved_pages(top) > before,
          "%d pages saved, %d within each, %d could be" % (saved_pages(top), before, could))
    check("no container waits for unsharing", stat_of(top, "pages_foreign") == 0)


def changed(containers, reference):
    """Change keys in one container, and the same in the reference."""
    one, others = containers[1], [c for c in containers if c is not containers[1]]
    before = {c.name: (c.redis.digest(), c.merging()) for c in containers}
    pages = len(CHANGED)
    write(0, KSM, "run")
    for server in (one.redis, reference.redis):
        server.pipeline([command("SETRANGE", "key:%06d" % number, 100, "written")
                         for number in CHANGED])
    say("\n%d keys changed in %s, a page each, the scanner stopped" % (pages, one.name))
    after = {c.name: (c.redis.digest(), c.merging()) for c in containers}
    say("  %-10s%44s%44s%10s%10s" % ("container", "digest before", "digest after", "merged", "then"))
    for c in containers:
        say("  %-10s%44s%44s%10d%10d" % (c.name, before[c.name][0], after[c.name][0],
                                         before[c.name][1], after[c.name][1]))
    check("%s has the data that it should have" % one.name,
          after[one.name][0] == reference.redis.digest() != before[one.name][0])
    for c in others:
        check("%s has its data as before" % c.name, after[c.name][0] == before[c.name][0])
        check("%s shares as before" % c.name,
              after[c.name][1] >= before[c.name][1] - 64,
              "%d pages, then %d" % (before[c.name][1], after[c.name][1]))
    fell = before[one.name][1] - after[one.name][1]
    check("%s shares no more where was written" % one.name,
          pages * 9 // 10 <= fell <= pages + 4096, "%d pages fewer" % fell)
    write(3, KSM, "run")


def undone(containers, reference):
    top = os.path.join(CGROUP, TOP)
    digests = [c.redis.digest() for c in containers]
    write(0, top, "memory.ksm")
    table("0 in their parent's: all is unshared", containers)
    check("nothing is merged any more", stat_of(top, "ksm_merging_pages") == 0 and
          stat_of(top, "pages_shared") == 0)
    check("the data has not changed", digests == [c.redis.digest() for c in containers])
    check("%s agrees with the server that was never merged" % containers[1].name,
          digests[1] == reference.redis.digest())


def main():
    if not os.path.exists(os.path.join(CGROUP, "memory.ksm")):
        sys.exit("demo: this kernel has no memory.ksm")
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    work = tempfile.mkdtemp(prefix="ksmdemo.")
    rootfs = os.path.join(work, "rootfs")
    os.mkdir(rootfs)
    subprocess.run(["tar", "-xf", ROOTFS_TAR, "-C", rootfs], check=True)
    write("+memory", CGROUP, "cgroup.subtree_control")
    for parent in (TOP, APART):
        os.mkdir(os.path.join(CGROUP, parent))
        write("+memory", CGROUP, parent, "cgroup.subtree_control")
    containers = [Container(name, rootfs, work) for name in NAMES]
    reference = Container("reference", rootfs, work, APART)
    try:
        start = time.monotonic()
        commands = data_set()
        for container in containers + [reference]:
            container.start()
            container.redis.pipeline(commands)
        say("%d containers under crun, each a redis-server with %d values, %d MiB of data (%.0f s)"
            % (len(containers), VALUES, VALUES * PAGE >> 20, time.monotonic() - start))
        # It is what the others are compared with.
        write(0, reference.cgroup, "memory.ksm")
        check("all have loaded the same data",
              len({c.redis.digest() for c in containers + [reference]}) == 1)
        say("\nto be quick: pages_to_scan 4000 instead of 100; and use_zero_pages 1")
        write(4000, KSM, "pages_to_scan")
        write(1, KSM, "use_zero_pages")
        check("the machine serves cgroups that have a value of their own, as it booted",
              read(KSM, "run") == "3")
        table("As they are", containers)
        full = total()
        saved = within(containers)
        each = total()
        across(containers, saved)
        say("\nmemory.current of all: %s MiB at first, %s with savings within, %s across"
            % (mib(full), mib(each), mib(total())))
        check("memory.current fell twice", total() < each < full)
        changed(containers, reference)
        say("\nthe scanner goes on until nothing changes any more (%.0f s)" % settle())
        undone(containers, reference)
    finally:
        for container in containers + [reference]:
            container.stop()
        write(3, KSM, "run")
        write(100, KSM, "pages_to_scan")
        write(0, KSM, "use_zero_pages")
    wait_for("removal of the cgroup", lambda: not any(
        os.path.isdir(c.cgroup) for c in containers + [reference]))
    for parent in (TOP, APART):
        os.rmdir(os.path.join(CGROUP, parent))
    if failures:
        say("\n%d claims do not hold: %s" % (len(failures), "; ".join(failures)))
        return 1
    say("\nAll of it holds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
