#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run one command in the test machine: make vm-exec, make shell.

usage: run.py exec | shell

What to run and where comes from the environment, as make passes it: CMD,
SHARE, OUT, MEM, CPUS, NODES, KERNEL, TIMEOUT, APPEND. The exit status is the
command's; 124 when its time ran out, 86 when the kernel complained on its
console, 125 when the VM did not work.
"""
import os
import sys
import time

from machine import BUILD, Machine, VMError

TROUBLE, BROKEN = 86, 125


def writer(stream):
    def write(data):
        stream.buffer.write(data)
        stream.buffer.flush()
    return write


def say(text):
    print("vm: " + text, file=sys.stderr, flush=True)


def setting(name, default):
    return os.environ.get(name) or default


def execute(script, interactive=False):
    timeout = int(setting("TIMEOUT", "864000" if interactive else "600"))
    kernel = setting("KERNEL", "ksm")
    log = os.path.join(BUILD, "log", "console-%s-%s.log" %
                       (kernel, time.strftime("%H%M%S")))
    with Machine(kernel=kernel, mem=setting("MEM", "2G"), cpus=setting("CPUS", "2"),
                 nodes=setting("NODES", "1"), share=setting("SHARE", None),
                 out=setting("OUT", None), append=setting("APPEND", ""), log=log,
                 boot_timeout=300, interactive=interactive) as machine:
        first = machine.troubles()
        result = machine.run(script, timeout, writer(sys.stdout), writer(sys.stderr))
    for unused, text in first + result.trouble:
        say("the kernel complained:\n%s\n" % text)
    if first or result.trouble:
        say("whole console in " + log)
        return TROUBLE
    if result.timeout:
        say("the command did not end within %d s; console in %s" % (timeout, log))
        return 124
    if result.status is None:
        say("the VM went away; console in " + log)
        return BROKEN
    return result.status


def shell():
    size = os.get_terminal_size(0) if sys.stdin.isatty() else (80, 24)
    os.environ.setdefault("TERM", "vt100")
    # systemd offers a login of its own on a console that it finds.
    script = ("systemctl -q mask --runtime --now serial-getty@hvc0.service\nstty sane -F /dev/hvc0 cols %d rows %d\n"
              "TERM=%s setsid -c -w bash -l </dev/hvc0 >/dev/hvc0 2>&1\n"
              % (size[0], size[1], os.environ["TERM"]))
    saved = None
    if sys.stdin.isatty():
        import termios
        import tty
        saved = termios.tcgetattr(0)
        tty.setraw(0)
    try:
        return execute(script, interactive=True)
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def main():
    if sys.argv[1:] not in (["exec"], ["shell"]):
        sys.exit(__doc__)
    try:
        if sys.argv[1] == "shell":
            return shell()
        if not os.environ.get("CMD"):
            say("nothing to run: CMD='command' is missing")
            return BROKEN
        return execute(os.environ["CMD"])
    except VMError as error:
        say(str(error))
        return BROKEN
    except BrokenPipeError:
        sys.stdout = None
        return 141
    except KeyboardInterrupt:
        return 130


sys.exit(main())
