#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run one command in the test machine: make vm-exec, make shell.

What to run and where comes from the environment, as make passes it: CMD,
SHARE, OUT, MEM, CPUS, NODES, KERNEL, TIMEOUT, APPEND. The exit status is the
command's; 124 when its time ran out, 86 when the kernel complained on its
console, 125 when the VM did not work.
"""
from __future__ import annotations

import argparse
import os
import sys
import termios
import time
import tty
from typing import TextIO

from common import LOG
from machine import Machine, Sink, VMError

TROUBLE, TIMEOUT, BROKEN = 86, 124, 125


def writer(stream: TextIO) -> Sink:
    def write(data: bytes) -> None:
        stream.buffer.write(data)
        stream.buffer.flush()
    return write


def complain(text: str) -> None:
    print(f"vm: {text}", file=sys.stderr, flush=True)


def setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


def number(name: str, default: str) -> int:
    text = setting(name, default)
    if not text.isdecimal():
        raise VMError(f"{name}={text} is no number", f"want one such as {default}")
    return int(text)


def execute(script: str, interactive: bool = False) -> int:
    timeout = number("TIMEOUT", "864000" if interactive else "600")
    kernel = setting("KERNEL", "ksm")
    log = LOG / f"console-{kernel}-{time.strftime('%H%M%S')}.log"
    with Machine(kernel, mem=setting("MEM", "2G"), cpus=number("CPUS", "2"),
                 nodes=number("NODES", "1"), share=os.environ.get("SHARE") or None,
                 out=os.environ.get("OUT") or None, append=setting("APPEND", ""), log=log,
                 interactive=interactive) as machine:
        first = machine.troubles()
        outcome = machine.run(script, timeout, writer(sys.stdout), writer(sys.stderr))
    for _, text in first + outcome.trouble:
        complain(f"the kernel complained:\n{text}\n")
    if first or outcome.trouble:
        complain(f"whole console in {log}")
        return TROUBLE
    if outcome.timeout:
        complain(f"the command did not end within {timeout} s: give it more by TIMEOUT=; "
                 f"console in {log}")
        return TIMEOUT
    if outcome.status is None:
        complain(f"the VM went away: see its console in {log}")
        return BROKEN
    return outcome.status


def shell() -> int:
    terminal = sys.stdin.isatty()
    columns, rows = os.get_terminal_size(0) if terminal else (80, 24)
    # systemd offers a login of its own on a console that it finds.
    script = ("systemctl -q mask --runtime --now serial-getty@hvc0.service\n"
              f"stty sane -F /dev/hvc0 cols {columns} rows {rows}\n"
              f"TERM={setting('TERM', 'vt100')} "
              "setsid -c -w bash -l </dev/hvc0 >/dev/hvc0 2>&1\n")
    if not terminal:
        return execute(script, interactive=True)
    saved = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        return execute(script, interactive=True)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("exec", "shell"))
    arguments = parser.parse_args()
    try:
        if arguments.what == "shell":
            return shell()
        if not os.environ.get("CMD"):
            complain("nothing to run: give CMD='command'")
            return BROKEN
        return execute(os.environ["CMD"])
    except VMError as error:
        complain(str(error))
        return BROKEN
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        return 141
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
