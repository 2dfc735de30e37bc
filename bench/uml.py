# SPDX-License-Identifier: GPL-2.0
"""Run bench/scan.c as the only program of a user mode kernel.

Such a kernel runs the engine's own code at the processor's speed. It is one
process of the host, and the figures are that process's CPU time, so they leave
out the time that other processes have the processor.
"""
from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from host import BUILD, OUT, BenchError, compile_c, note

ROOT = OUT / "root"
OBJ = {"ksm": "um", "stock": "um-stock"}
MEMORY = Path("/dev/shm")       # holds the file that is the kernel's memory
MAPS = Path("/proc/sys/vm/max_map_count")
MAPS_WANTED = 2000000           # a page of a process is a mapping of the host, 4 GiB are 2^20
TIMEOUT = 900                   # seconds without a line
SPARE_MIB = 512                 # free memory that the host keeps


@dataclass(frozen=True)
class Job:
    """What scan.c is to do: its arguments."""
    part: str
    data: str
    mib: int
    smart: bool = False

    @property
    def key(self) -> str:
        """The name of the results in the raw data."""
        return f"{self.part} {self.data} {self.mib}"

    @property
    def machine_mib(self) -> int:
        """Memory that the kernel needs."""
        return self.mib * 9 // 8 + 256


def linux(kernel: str) -> Path:
    return BUILD / "obj" / OBJ[kernel] / "vmlinux"


@contextlib.contextmanager
def many_maps() -> Iterator[None]:
    """Let processes have as many mappings as are needed; restore the limit in the end."""
    old = int(MAPS.read_text())
    if old >= MAPS_WANTED:
        yield
        return
    try:
        MAPS.write_text(f"{MAPS_WANTED}\n")
    except OSError:
        raise BenchError(f"vm.max_map_count is {old}, and {MAPS_WANTED} are needed",
                         f"as root, sysctl vm.max_map_count={MAPS_WANTED}") from None
    note(f"vm.max_map_count of this machine: {MAPS_WANTED}, until the end {old}")
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    finally:
        MAPS.write_text(f"{old}\n")
        note(f"vm.max_map_count is {old} again")
        signal.signal(signal.SIGTERM, previous)


def prepare() -> None:
    """Make the root file system: the program, and mount points for what it reads."""
    for name in ("proc", "sys", "dev"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    compile_c("scan", ROOT / "scan", ["-static"])


def room(job: Job) -> bool:
    """Whether the host has the memory for a job."""
    found = re.search(r"MemAvailable: *(\d+)", Path("/proc/meminfo").read_text())
    available = int(found[1]) >> 10 if found else 0
    return min(available, shutil.disk_usage(MEMORY).free >> 20) > job.machine_mib + SPARE_MIB


def cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def lines(process: subprocess.Popen[bytes], log: BinaryIO) -> Iterator[str]:
    """Lines of the console as they come."""
    held = b""
    while True:
        if not select.select([process.stdout], [], [], TIMEOUT)[0]:
            raise BenchError(f"nothing more came in {TIMEOUT} s", f"see {log.name}")
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return
        log.write(data)
        log.flush()
        *whole, held = (held + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").strip()


def figures(line: str) -> tuple[str, Any]:
    """'name key 1 key 2' as name and {key: 1, key: 2}; 'name 1' as name and 1."""
    words = line.split()
    if len(words) == 2:
        return words[0], int(words[1])
    return words[0], dict(zip(words[1::2], map(int, words[2::2])))


def command(kernel: str, job: Job) -> list[str]:
    # Real programs are this machine's own; the root file system is read-only.
    root, init = ("/", f"{ROOT}/scan") if job.part == "real" else (ROOT, "/scan")
    return [str(linux(kernel)), f"mem={job.machine_mib}M", "rootfstype=hostfs",
            f"rootflags={root}", "ro", f"init={init}", "con=null", "con0=fd:0,fd:1",
            "quiet", "--", job.part, job.data, str(job.mib), str(int(job.smart))]


def results(kernel: str, job: Job, process: subprocess.Popen[bytes],
            log: BinaryIO) -> dict[str, Any]:
    """Read what scan.c prints, and answer when it asks for the CPU time."""
    result: dict[str, Any] = {}
    for line in lines(process, log):
        if not line.startswith("scan: "):
            continue
        line = line.removeprefix("scan: ")
        if line == "cpu":
            process.stdin.write(f"{cpu_ns(process.pid)}\n".encode())
            process.stdin.flush()
        elif line == "end":
            return result
        elif line.startswith("failed"):
            raise BenchError(f"{kernel}, {job.part} {job.data}: {line}", f"see {log.name}")
        else:
            name, value = figures(line)
            result[name] = value
    raise BenchError(f"the {kernel} kernel in user mode ended early", f"see {log.name}")


def run(kernel: str, job: Job) -> dict[str, Any]:
    """Run one job on one kernel."""
    log_path = OUT / f"scan-{kernel}-{job.part}-{job.data}-{job.mib}.log"
    if not linux(kernel).exists():
        raise BenchError(f"no kernel at {linux(kernel)}", f"make {OBJ[kernel]}-kernel")
    with log_path.open("wb") as log:
        process = subprocess.Popen(command(kernel, job), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                                   env=dict(os.environ, TMPDIR=str(MEMORY)))
        try:
            return results(kernel, job, process, log)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the kernel, with the processes of the host that its own processes are."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()
    # The memory takes a moment to be free again.
    time.sleep(0.2)
