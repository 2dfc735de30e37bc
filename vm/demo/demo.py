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
from __future__ import annotations

import argparse
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
KSM = Path("/sys/kernel/mm/ksm")
TOP = "ksmdemo"
APART = "ksmdemo-unmerged"
ROOTFS_TAR = Path("/usr/local/share/redis-container.tar")
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

failures: list[str] = []


def say(text: str = "") -> None:
    print(text, flush=True)


def check(claim: str, holds: bool, detail: str = "") -> None:
    say(f"  {'ok  ' if holds else 'FAIL'}  {claim}{f' ({detail})' if detail else ''}")
    if not holds:
        failures.append(claim)


def read(path: Path) -> str:
    return path.read_text().strip()


def write(value: object, path: Path) -> None:
    path.write_text(str(value))


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"demo: {what}: not within {BOUND} s, see whether the scanner runs "
                     f"({KSM}/run_cgroups)")
        time.sleep(0.2)


def command(*words: object) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Redis:
    """A client, in as much of the protocol as is needed here."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("rb")

    def pipeline(self, commands: list[bytes]) -> None:
        """Many commands, a hundred at a time; their answers are not looked at."""
        for start in range(0, len(commands), 100):
            some = commands[start:start + 100]
            self.sock.sendall(b"".join(some))
            for _ in some:
                self.answer()

    def answer(self) -> str:
        line = self.file.readline().rstrip(b"\r\n")
        if line[:1] == b"-":
            sys.exit(f"demo: redis says {line.decode()}")
        if line[:1] == b"$":
            data = self.file.read(int(line[1:]) + 2)[:-2]
            return data.decode()
        return line[1:].decode()

    def __call__(self, *words: object) -> str:
        self.sock.sendall(command(*words))
        return self.answer()

    def digest(self) -> str:
        return self("DEBUG", "DIGEST")


def data_set() -> list[bytes]:
    """The commands that load it; the same for every server."""
    commands = []
    for number in range(VALUES):
        kind = number - 1 if number % 3 == 2 else number
        value = struct.pack("<Q", kind * 0x9e3779b97f4a7c15 & (1 << 64) - 1) * 512
        commands.append(command("SET", f"key:{number:06}", value[:VALUE_SIZE]))
    return commands


class Container:
    def __init__(self, name: str, rootfs: Path, work: Path, parent: str = TOP) -> None:
        self.name = name
        self.cgroup = CGROUP / parent / name
        self.bundle = work / name
        self.run_dir = self.bundle / "run"
        self.run_dir.mkdir(parents=True)
        write(json.dumps(self.config(rootfs), indent=1), self.bundle / "config.json")

    def config(self, rootfs: Path) -> dict[str, Any]:
        """A minimal container: own processes, mounts and names, no network."""
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/data", "type": "bind", "source": str(self.run_dir),
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
            "root": {"path": str(rootfs), "readonly": True},
            "hostname": self.name,
            "mounts": mounts,
            "linux": {
                "cgroupsPath": f"/{self.cgroup.relative_to(CGROUP)}",
                "namespaces": [{"type": kind} for kind in
                               ("pid", "mount", "ipc", "uts", "network", "cgroup")],
            },
        }

    def start(self) -> None:
        subprocess.run(["crun", "--cgroup-manager=cgroupfs", "run", "--detach", "--bundle",
                        self.bundle, f"ksmdemo-{self.name}"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        sock = self.run_dir / "sock"
        wait_for(f"redis in {self.name}", sock.exists)
        self.redis = Redis(sock)

    def stat(self, key: str) -> int:
        return stat_of(self.cgroup, key)

    def pids(self) -> list[str]:
        """The processes of the container, in cgroups of its own as well."""
        return [pid for path in self.cgroup.rglob("cgroup.procs") for pid in read(path).split()]

    def merging(self) -> int:
        return sum(int(read(Path("/proc", pid, "ksm_merging_pages"))) for pid in self.pids())

    def stop(self) -> None:
        subprocess.run(["crun", "--cgroup-manager=cgroupfs", "delete", "--force",
                        f"ksmdemo-{self.name}"], check=False, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stat_of(cgroup: Path, key: str) -> int:
    for line in read(cgroup / "memory.ksm.stat").splitlines():
        name, value = line.split()
        if name == key:
            return int(value)
    sys.exit(f"demo: no {key} in {cgroup}/memory.ksm.stat: is this the project's kernel?")


def wait_for_scan(before: int) -> None:
    wait_for("a full scan", lambda: int(read(KSM / "full_scans")) > before)


def settle() -> float:
    """Until two full scans have gained nothing; the time they took."""
    start = time.monotonic()
    saved, calm = -1, 0
    while calm < 2:
        wait_for_scan(int(read(KSM / "full_scans")))
        now = int(read(KSM / "pages_saved"))
        calm = calm + 1 if now <= saved else 0
        saved = now
    return time.monotonic() - start


def mib(size: int) -> str:
    return f"{size / (1 << 20):.1f}"


def row(name: str, cgroup: Path, merging: int) -> tuple[str, ...]:
    return (name, mib(int(read(cgroup / "memory.current"))), f"{merging}",
            f"{stat_of(cgroup, 'ksm_zero_pages')}", mib(saved_pages(cgroup) * PAGE),
            f"{stat_of(cgroup, 'ksm_metadata_bytes') >> 10}",
            f"{stat_of(cgroup, 'scan_usec') // 1000}")


def table(title: str, containers: list[Container]) -> None:
    rows: list[tuple[str, ...]] = [
        ("container", "memory.current", "merged", "zero", "saved", "metadata", "scan CPU"),
        ("", "MiB", "pages", "pages", "MiB", "KiB", "ms")]
    rows += [row(c.name, c.cgroup, c.merging()) for c in containers]
    rows.append(row("together", CGROUP / TOP, sum(c.merging() for c in containers)))
    say(f"\n{title}")
    for first, *cells in rows:
        say(f"  {first:10}" + "".join(f"{cell:>16}" for cell in cells))


def total() -> int:
    return int(read(CGROUP / TOP / "memory.current"))


def saved_pages(cgroup: Path) -> int:
    return stat_of(cgroup, "pages_saved")


def within(containers: list[Container]) -> int:
    top = CGROUP / TOP
    for container in containers:
        write(1, container.cgroup / "memory.ksm")
    took = settle()
    table(f"1 in each container's memory.ksm: savings within each (settled in {took:.0f} s)",
          containers)
    for container in containers:
        check(f"{container.name} has merged its copies",
              saved_pages(container.cgroup) >= COPIES * 9 // 10,
              f"{saved_pages(container.cgroup)} pages saved, of which {COPIES} were to be")
        check(f"{container.name} needs frames of its own for them",
              container.stat("pages_shared") >= COPIES * 9 // 10,
              f"{container.stat('pages_shared')} frames")
    return saved_pages(top)


def across(containers: list[Container], before: int) -> None:
    top = CGROUP / TOP
    write(1, top / "memory.ksm")
    for container in containers:
        write("inherit", container.cgroup / "memory.ksm")
    took = settle()
    table(f"1 in their parent's, the containers inherit: savings across (settled in {took:.0f} s)",
          containers)
    could = len(containers) * VALUES - (VALUES - COPIES)
    check("the copies of one container are the others' too",
          saved_pages(top) >= could * 9 // 10 and saved_pages(top) > before,
          f"{saved_pages(top)} pages saved, {before} within each, {could} could be")
    check("no container waits for unsharing", stat_of(top, "pages_foreign") == 0)


def changed(containers: list[Container], reference: Container) -> None:
    """Change keys in one container, and the same in the reference."""
    one, others = containers[1], [c for c in containers if c is not containers[1]]
    before = {c.name: (c.redis.digest(), c.merging()) for c in containers}
    pages = len(CHANGED)
    write(0, KSM / "run_cgroups")
    for server in (one.redis, reference.redis):
        server.pipeline([command("SETRANGE", f"key:{number:06}", 100, "written")
                         for number in CHANGED])
    say(f"\n{pages} keys changed in {one.name}, a page each, the scanner stopped")
    after = {c.name: (c.redis.digest(), c.merging()) for c in containers}
    say(f"  {'container':10}{'digest before':>44}{'digest after':>44}{'merged':>10}{'then':>10}")
    for c in containers:
        say(f"  {c.name:10}{before[c.name][0]:>44}{after[c.name][0]:>44}"
            f"{before[c.name][1]:10}{after[c.name][1]:10}")
    check(f"{one.name} has the data that it should have",
          after[one.name][0] == reference.redis.digest() != before[one.name][0])
    for c in others:
        check(f"{c.name} has its data as before", after[c.name][0] == before[c.name][0])
        check(f"{c.name} shares as before",
              after[c.name][1] >= before[c.name][1] - 64,
              f"{before[c.name][1]} pages, then {after[c.name][1]}")
    fell = before[one.name][1] - after[one.name][1]
    check(f"{one.name} shares no more where was written",
          pages * 9 // 10 <= fell <= pages + 4096, f"{fell} pages fewer")
    write(1, KSM / "run_cgroups")


def undone(containers: list[Container], reference: Container) -> None:
    top = CGROUP / TOP
    digests = [c.redis.digest() for c in containers]
    write(0, top / "memory.ksm")
    table("0 in their parent's: all is unshared", containers)
    check("nothing is merged any more", stat_of(top, "ksm_merging_pages") == 0 and
          stat_of(top, "pages_shared") == 0)
    check("the data has not changed", digests == [c.redis.digest() for c in containers])
    check(f"{containers[1].name} agrees with the server that was never merged",
          digests[1] == reference.redis.digest())


def prepare(work: Path, *parents: str) -> Path:
    """Make the cgroups that containers go to, and their root file system."""
    rootfs = work / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-xf", ROOTFS_TAR, "-C", rootfs], check=True)
    write("+memory", CGROUP / "cgroup.subtree_control")
    for parent in parents:
        (CGROUP / parent).mkdir()
        write("+memory", CGROUP / parent / "cgroup.subtree_control")
    return rootfs


def main() -> int:
    argparse.ArgumentParser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not (CGROUP / "memory.ksm").exists():
        sys.exit("demo: this kernel has no memory.ksm: make demo boots one that has")
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    work = Path(tempfile.mkdtemp(prefix="ksmdemo."))
    rootfs = prepare(work, TOP, APART)
    containers = [Container(name, rootfs, work) for name in NAMES]
    reference = Container("reference", rootfs, work, APART)
    try:
        start = time.monotonic()
        commands = data_set()
        for container in containers + [reference]:
            container.start()
            container.redis.pipeline(commands)
        say(f"{len(containers)} containers under crun, each a redis-server with {VALUES} values, "
            f"{VALUES * PAGE >> 20} MiB of data ({time.monotonic() - start:.0f} s)")
        # It is what the others are compared with.
        write(0, reference.cgroup / "memory.ksm")
        check("all have loaded the same data",
              len({c.redis.digest() for c in containers + [reference]}) == 1)
        say("\nto be quick: pages_to_scan 4000 instead of 100; and use_zero_pages 1")
        write(4000, KSM / "pages_to_scan")
        write(1, KSM / "use_zero_pages")
        check("the machine serves cgroups that have a value of their own, as it booted",
              (read(KSM / "run"), read(KSM / "run_cgroups")) == ("0", "1"))
        table("As they are", containers)
        full = total()
        saved = within(containers)
        each = total()
        across(containers, saved)
        say(f"\nmemory.current of all: {mib(full)} MiB at first, {mib(each)} with savings within, "
            f"{mib(total())} across")
        check("memory.current fell twice", total() < each < full)
        changed(containers, reference)
        say(f"\nthe scanner goes on until nothing changes any more ({settle():.0f} s)")
        undone(containers, reference)
    finally:
        for container in containers + [reference]:
            container.stop()
        write(1, KSM / "run_cgroups")
        write(100, KSM / "pages_to_scan")
        write(0, KSM / "use_zero_pages")
    wait_for("removal of the cgroup", lambda: not any(
        c.cgroup.is_dir() for c in containers + [reference]))
    for parent in (TOP, APART):
        (CGROUP / parent).rmdir()
    if failures:
        say(f"\n{len(failures)} claims do not hold: {'; '.join(failures)}")
        return 1
    say("\nAll of it holds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
