# SPDX-License-Identifier: GPL-2.0
"""Run bench/scan.c as the only program of a kernel in user mode.

Such a kernel runs the engine's own code at the processor's speed. All of it is
one process of the host, whose CPU time is what is measured: time during which
others had the processor is not in it.
"""
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
ROOT = os.path.join(BUILD, "bench", "root")
OBJ = {"ksm": "um", "stock": "um-stock"}
MEMORY = "/dev/shm"             # a file there is the machine's memory
MAPS = "/proc/sys/vm/max_map_count"
MAPS_WANTED = 2000000           # a page of a process is a mapping of the host, 4 GiB are 2^20
TIMEOUT = 900                   # seconds without a line


class UMLError(Exception):
    pass


def linux(kernel):
    return os.path.join(BUILD, "obj", OBJ[kernel], "vmlinux")


@contextlib.contextmanager
def many_maps():
    """Let processes have as many mappings as are needed, and put it back."""
    with open(MAPS) as stream:
        old = int(stream.read())
    if old >= MAPS_WANTED:
        yield
        return
    try:
        with open(MAPS, "w") as stream:
            stream.write("%d\n" % MAPS_WANTED)
    except OSError:
        raise UMLError("vm.max_map_count is %d, and %d are needed: as root, sysctl "
                       "vm.max_map_count=%d" % (old, MAPS_WANTED, MAPS_WANTED)) from None
    print("    vm.max_map_count of this machine: %d, until the end %d" % (old, MAPS_WANTED),
          file=sys.stderr, flush=True)
    previous = signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    try:
        yield
    finally:
        with open(MAPS, "w") as stream:
            stream.write("%d\n" % old)
        print("    vm.max_map_count is %d again" % old, file=sys.stderr, flush=True)
        signal.signal(signal.SIGTERM, previous)


def prepare():
    """The root file system: the program and places to mount what it reads."""
    for name in ("proc", "sys", "dev"):
        os.makedirs(os.path.join(ROOT, name), exist_ok=True)
    subprocess.run(["gcc", "-O2", "-static", "-o", os.path.join(ROOT, "scan"),
                    os.path.join(TOP, "bench", "scan.c")], check=True)


def room(mib):
    """Is there memory for a machine with so much data?"""
    with open("/proc/meminfo") as stream:
        free = int(re.search(r"MemAvailable: *(\d+)", stream.read())[1]) >> 10
    return min(free, shutil.disk_usage(MEMORY).free >> 20) > machine_mib(mib) + 512


def machine_mib(mib):
    return mib * 9 // 8 + 256


def cpu_ns(pid):
    with open("/proc/%d/schedstat" % pid) as stream:
        return int(stream.read().split()[0])


def lines(process, log):
    """Lines of the console as they come."""
    held = b""
    while True:
        if not select.select([process.stdout], [], [], TIMEOUT)[0]:
            raise UMLError("nothing more came in %d s, see %s" % (TIMEOUT, log.name))
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return
        log.write(data)
        log.flush()
        *whole, held = (held + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").strip()


def figures(line):
    """'name key 1 key 2' as name and {key: 1, key: 2}; 'name 1' as name and 1."""
    words = line.split()
    if len(words) == 2:
        return words[0], int(words[1])
    return words[0], dict(zip(words[1::2], map(int, words[2::2])))


def run(kernel, part, data, mib, smart, log_name):
    """What scan.c says of one kernel and one set of data."""
    # programs are this machine's own, which the kernel may only read
    root, init = ("/", ROOT + "/scan") if part == "real" else (ROOT, "/scan")
    command = [linux(kernel), "mem=%dM" % machine_mib(mib), "rootfstype=hostfs",
               "rootflags=" + root, "ro", "init=" + init, "con=null", "con0=fd:0,fd:1",
               "quiet", "--", part, data, str(mib), str(smart)]
    result, ended = {}, False
    with open(log_name, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=log, start_new_session=True,
                                   env=dict(os.environ, TMPDIR=MEMORY))
        try:
            for line in lines(process, log):
                if not line.startswith("scan: "):
                    continue
                line = line[len("scan: "):]
                if line == "cpu":
                    process.stdin.write(b"%d\n" % cpu_ns(process.pid))
                    process.stdin.flush()
                elif line == "end":
                    ended = True
                    break
                elif line.startswith("failed"):
                    raise UMLError("%s, %s %s: %s" % (kernel, part, data, line))
                else:
                    name, value = figures(line)
                    result[name] = value
        finally:
            stop(process)
    if not ended:
        raise UMLError("the %s kernel in user mode ended early, see %s" % (kernel, log_name))
    return result


def stop(process):
    """The kernel and the processes of the host that its processes are."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()
    # a moment until the memory is free again
    time.sleep(0.2)
