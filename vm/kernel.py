#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Configure and build a kernel.

usage: kernel.py ksm | debug | stock | stock-debug | um | um-stock [make target ...]

The configuration is all-no plus the fragments of vm/config/; what a fragment
wants and Kconfig dropped stops the build, as it would otherwise be missed hours
later. Log: build/log/kernel-NAME.log; warnings of the compiler are shown.
"""
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time

from steps import step

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
CONFIG = os.path.join(TOP, "vm", "config")
KERNELS = {             # tree, folder below build/obj, fragments
    "ksm": ("linux", "ksm", ["base"]),
    "debug": ("linux", "ksm-debug", ["base", "debug"]),
    "stock": ("src", "stock", ["base"]),
    "stock-debug": ("src", "stock-debug", ["base", "debug"]),
    "um": ("linux", "um", ["um"]),
    "um-stock": ("src", "um-stock", ["um"]),
}
# KASAN looks at these files' accesses only; memory that is freed is poisoned
# whoever frees it. With the whole kernel instrumented an emulated VM takes
# minutes to boot (and the kernel half as long again to compile). KASAN=all in the
# environment instruments everything.
SANITIZED = "mm/% kernel/cgroup/% kernel/fork.o kernel/exit.o kernel/sys.o fs/exec.o " \
            "fs/userfaultfd.o fs/proc/% lib/xarray.o lib/rbtree.o"
KASAN_FLAGS = "-fsanitize=kernel-address -fasan-shadow-offset=$(CONFIG_KASAN_SHADOW_OFFSET) " \
              "--param asan-globals=1 --param asan-instrumentation-with-call-threshold=10000 " \
              "--param asan-stack=1 --param asan-instrument-allocas=1 " \
              "$(if $(CONFIG_CC_HAS_KASAN_MEMINTRINSIC_PREFIX)," \
              "--param asan-kernel-mem-intrinsic-prefix=1)"
# User-mode Linux keeps its processes' registers in a space that is too small
# where the processor has AMX, and init dies. That is asked for in bytes.
UM_STATE = ("2696", "11264")
# What x86 selects and its user mode forgets: without, memcmp goes by bytes.
UM_FLAGS = "KCFLAGS=-DCONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS=1"
# Unknown to the stock tree.
OWN = {"CONFIG_KSM_KUNIT_TEST"}


def fragments(names):
    """Symbol -> value, later fragments over earlier ones."""
    result = {}
    for name in names:
        with open(os.path.join(CONFIG, name + ".config")) as stream:
            for line in stream:
                found = re.match(r"(CONFIG_\w+)=(.*)", line)
                if found:
                    result[found[1]] = found[2]
    # One of a choice: what a later fragment picks takes the place.
    for choice in (("CONFIG_PREEMPT", "CONFIG_PREEMPT_VOLUNTARY"),
                   ("CONFIG_CC_OPTIMIZE_FOR_SIZE", "CONFIG_CC_OPTIMIZE_FOR_PERFORMANCE")):
        if choice[0] in result and choice[1] in result:
            del result[choice[1]]
    return result


def missing(wanted, path, stock):
    with open(path) as stream:
        have = dict(line.rstrip("\n").split("=", 1) for line in stream if line[:7] == "CONFIG_")
    result = []
    for symbol, value in wanted.items():
        if have.get(symbol, "n") != value and not (stock and symbol in OWN):
            result.append("%s=%s" % (symbol, value))
    return result


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in KERNELS:
        sys.exit(__doc__)
    name = sys.argv[1]
    tree, folder, parts = KERNELS[name]
    tree, obj = os.path.join(BUILD, tree), os.path.join(BUILD, "obj", folder)
    log = os.path.join(BUILD, "log", "kernel-%s.log" % name)
    os.makedirs(obj, exist_ok=True)
    os.makedirs(os.path.dirname(log), exist_ok=True)
    environment = dict(os.environ)
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "O", "OUT", "KERNEL"):
        environment.pop(variable, None)
    # The same bytes from the same sources, and more hits in the cache.
    environment.update(KBUILD_BUILD_TIMESTAMP="2025-01-01", KBUILD_BUILD_USER="ksm",
                       KBUILD_BUILD_HOST="ksm", LC_ALL="C")
    command = ["make", "-C", tree, "O=" + obj, "-j%d" % len(os.sched_getaffinity(0))]
    if "um" in parts:
        command += ["ARCH=um", UM_FLAGS]
    if shutil.which("ccache"):
        # With relative paths another clone that shares the cache has hits, too.
        environment.setdefault("CCACHE_DIR", os.path.join(BUILD, "ccache"))
        environment.setdefault("CCACHE_BASEDIR", BUILD)
        # What is included is learnt from the compiler: without it, everything is
        # preprocessed once more, a quarter of the time of a first build.
        environment.setdefault("CCACHE_DEPEND", "1")
        command.append("CC=ccache gcc")
    if "debug" in parts and os.environ.get("KASAN") != "all":
        command.append("CFLAGS_KASAN=$(if $(filter %s,$@),%s)" % (SANITIZED, KASAN_FLAGS))

    with open(os.path.join(obj, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(log, "w") as stream:
            build(name, command, environment, stream)


def build(name, command, environment, stream):
    tree, folder, parts = KERNELS[name]
    obj = os.path.join(BUILD, "obj", folder)
    stock = tree == "src"
    wanted = fragments(parts)
    text = "".join("%s=%s\n" % item for item in wanted.items())
    fragment, config = os.path.join(obj, "wanted.config"), os.path.join(obj, ".config")
    old = open(fragment).read() if os.path.exists(fragment) else None
    stale = (old != text or not os.path.exists(config) or
             missing(wanted, config, stock))
    if stale:
        with open(fragment, "w") as out:
            out.write(text)
        configure = command + ["KCONFIG_ALLCONFIG=" + fragment, "allnoconfig"]
        if subprocess.run(configure, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                          env=environment, check=False).returncode:
            sys.exit("kernel: configuration failed, see %s" % stream.name)
        lost = missing(wanted, config, stock)
        if lost:
            os.unlink(config)
            sys.exit("kernel: Kconfig dropped %s: add what they depend on to vm/config/"
                     % " ".join(lost))
    image = ["bzImage" if "debug" in parts else "vmlinux"]
    targets = sys.argv[2:] or image
    # Anything newer than the beginning of this build is not in it.
    built = os.path.join(obj, "built")
    with open(built + ".tmp", "w"):
        pass
    with step("building the %s kernel%s" % (
            name, "" if targets == image else ": " + " ".join(targets))):
        if ("um" in parts and um_state(command, environment, stream, obj)) or \
                compile_(command + targets, environment, stream):
            sys.exit("kernel: the %s kernel does not build, see %s" % (name, stream.name))
    if targets == image:
        os.rename(built + ".tmp", built)


def um_state(command, environment, log, obj):
    """More space for registers; in what the compiler made, as the trees stay as they are."""
    if compile_(command + ["archprepare"], environment, log):
        return True
    path = os.path.join(obj, "arch", "x86", "um", "user-offsets.s")
    with open(path) as stream:
        text = stream.read()
    old, new = ("->HOST_FP_SIZE $%d " % (int(size) // 8) for size in UM_STATE)
    if new in text:
        return False
    if text.count(old) != 1:
        print("    HOST_FP_SIZE is not what was expected in %s" % path, file=sys.stderr)
        return True
    with open(path, "w") as stream:
        stream.write(text.replace(old, new))
    return False


def compile_(command, environment, log):
    """Everything into the log; errors, warnings and a sign of life on stderr."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=environment, text=True,
                               errors="replace")
    start = last = time.monotonic()
    steps = shown = 0
    for line in process.stdout:
        log.write(line)
        steps += bool(re.match(r"  [A-Z]+ ", line))
        if re.search(r"(warning|error|undefined reference|\*\*\*)[: ]", line) and shown < 60:
            shown += 1
            print("    " + line.rstrip(), file=sys.stderr, flush=True)
        if time.monotonic() - last > 60:
            last = time.monotonic()
            print("    %d steps, %d s" % (steps, last - start), file=sys.stderr, flush=True)
    return process.wait()


main()
