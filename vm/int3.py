#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Does this machine patch code safely while other CPUs execute it?

Run as root in the VM, where the share is the project's folder:

    make vm-exec KERNEL=stock SHARE=. CMD='python3 /mnt/share/vm/int3.py'

The engine patches the kernel once, when scanning first starts: a static key
switches its hooks on. Once, an oops "int3" followed. This toggles a static key
of the stock kernel in its page allocator, vm.numa_stat, while processes fork.
QEMU 7.2's emulator fails it within some thousand changes, in a kernel without
any change of ours; a machine that patches safely ends with status 0.
"""
from __future__ import annotations

import argparse
import os
import random
import signal
import time
from pathlib import Path

KEY = Path("/proc/sys/vm/numa_stat")


def load() -> None:
    """Fork, and touch memory, for ever."""
    while True:
        pid = os.fork()
        if not pid:
            bytearray(1 << 20)
            os._exit(0)
        os.waitpid(pid, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("changes", nargs="?", type=int, default=4000, help="of the key (%(default)s)")
    parser.add_argument("--load", type=int, default=3, help="processes that fork (%(default)s)")
    args = parser.parse_args()
    pids = []
    for _ in range(args.load):
        pid = os.fork()
        if not pid:
            load()
        pids.append(pid)
    before = KEY.read_text(encoding="ascii")
    try:
        for change in range(1, args.changes + 1):
            KEY.write_text(f"{change % 2}\n", encoding="ascii")
            time.sleep(random.uniform(0, 0.003))
            if not change % 500:
                print(f"{change} changes", flush=True)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        KEY.write_text(before, encoding="ascii")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
