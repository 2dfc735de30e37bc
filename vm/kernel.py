#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Configure and build a kernel.

The configuration is all-no plus the fragments of vm/config/; what a fragment
wants and Kconfig dropped stops the build, as it would otherwise be missed hours
later. Log: build/log/kernel-NAME.log; warnings of the compiler are shown.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from common import BUILD, LOG, TOP, HintError, locked, note, step

CONFIG = TOP / "vm" / "config"


class KernelError(HintError):
    """The kernel is not configured or not built."""


@dataclass(frozen=True)
class Kernel:
    tree: str                   # below build/
    folder: str                 # below build/obj/
    fragments: tuple[str, ...]  # of vm/config/

    @property
    def obj(self) -> Path:
        return BUILD / "obj" / self.folder

    @property
    def stock(self) -> bool:
        return self.tree == "src"

    @property
    def debug(self) -> bool:
        return "debug" in self.fragments

    @property
    def um(self) -> bool:
        return "um" in self.fragments


KERNELS = {
    "ksm": Kernel("linux", "ksm", ("base",)),
    "debug": Kernel("linux", "ksm-debug", ("base", "debug")),
    "stock": Kernel("src", "stock", ("base",)),
    "stock-debug": Kernel("src", "stock-debug", ("base", "debug")),
    "um": Kernel("linux", "um", ("um",)),
    "um-stock": Kernel("src", "um-stock", ("um",)),
}
# KASAN looks at these files' accesses only; memory that is freed is poisoned
# wherever that happens. With the whole kernel instrumented an emulated VM takes
# minutes to boot (and the kernel half as long again to compile). KASAN=all in the
# environment instruments everything.
SANITIZED = ("mm/% kernel/cgroup/% kernel/fork.o kernel/exit.o kernel/sys.o fs/exec.o "
             "fs/userfaultfd.o fs/proc/% lib/xarray.o lib/rbtree.o")
KASAN_FLAGS = ("-fsanitize=kernel-address -fasan-shadow-offset=$(CONFIG_KASAN_SHADOW_OFFSET) "
               "--param asan-globals=1 --param asan-instrumentation-with-call-threshold=10000 "
               "--param asan-stack=1 --param asan-instrument-allocas=1 "
               "$(if $(CONFIG_CC_HAS_KASAN_MEMINTRINSIC_PREFIX),"
               "--param asan-kernel-mem-intrinsic-prefix=1)")
# User-mode Linux keeps its processes' registers in a space that is too small
# where the processor has AMX, and init dies. That is asked for in bytes.
UM_STATE = (2696, 11264)
# What x86 selects and its user mode forgets: without, memcmp goes by bytes.
UM_FLAGS = "KCFLAGS=-DCONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS=1"
# Unknown to the stock tree.
OWN = {"CONFIG_KSM_KUNIT_TEST"}
# One of a choice: what a later fragment picks takes the place.
CHOICES = (("CONFIG_PREEMPT", "CONFIG_PREEMPT_VOLUNTARY"),
           ("CONFIG_CC_OPTIMIZE_FOR_SIZE", "CONFIG_CC_OPTIMIZE_FOR_PERFORMANCE"))
# The same bytes from the same sources, and more hits in the cache.
REPRODUCIBLE = {"KBUILD_BUILD_TIMESTAMP": "2025-01-01", "KBUILD_BUILD_USER": "ksm",
                "KBUILD_BUILD_HOST": "ksm", "LC_ALL": "C"}
FOREIGN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "O", "OUT", "KERNEL")


def fragments(names: Sequence[str]) -> dict[str, str]:
    """Symbol -> value, later fragments over earlier ones."""
    result: dict[str, str] = {}
    for name in names:
        result.update(re.findall(r"^(CONFIG_\w+)=(.*)", (CONFIG / f"{name}.config").read_text(),
                                 re.M))
    for chosen, other in CHOICES:
        if chosen in result and other in result:
            del result[other]
    return result


def missing(wanted: dict[str, str], config: Path, stock: bool) -> list[str]:
    """What is wanted and the configuration has otherwise."""
    have = dict(re.findall(r"^(CONFIG_\w+)=(.*)", config.read_text(), re.M))
    return [f"{symbol}={value}" for symbol, value in wanted.items()
            if have.get(symbol, "n") != value and not (stock and symbol in OWN)]


class Build:
    def __init__(self, name: str, log: TextIO) -> None:
        self.name, self.log = name, log
        self.kernel = KERNELS[name]
        self.environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
        self.environment.update(REPRODUCIBLE)
        self.command = ["make", "-C", str(BUILD / self.kernel.tree), f"O={self.kernel.obj}",
                        f"-j{len(os.sched_getaffinity(0))}"]
        if self.kernel.um:
            self.command += ["ARCH=um", UM_FLAGS]
        if shutil.which("ccache"):
            self.use_ccache()
        if self.kernel.debug and os.environ.get("KASAN") != "all":
            self.command.append(f"CFLAGS_KASAN=$(if $(filter {SANITIZED},$@),{KASAN_FLAGS})")

    def use_ccache(self) -> None:
        # With relative paths another clone that shares the cache has hits, too.
        self.environment.setdefault("CCACHE_DIR", str(BUILD / "ccache"))
        self.environment.setdefault("CCACHE_BASEDIR", str(BUILD))
        # What is included is learnt from the compiler: without it, everything is
        # preprocessed once more, a quarter of the time of a first build.
        self.environment.setdefault("CCACHE_DEPEND", "1")
        self.command.append("CC=ccache gcc")

    def run(self, targets: list[str]) -> None:
        self.configure()
        image = ["bzImage" if self.kernel.debug else "vmlinux"]
        targets = targets or image
        # Anything newer than the beginning of this build is not in it.
        begun = self.kernel.obj / "built.tmp"
        begun.write_text("")
        what = "" if targets == image else f": {' '.join(targets)}"
        with step(f"building the {self.name} kernel{what}"):
            if self.kernel.um:
                self.enlarge_um_state()
            self.make(targets)
        if targets == image:
            begun.rename(self.kernel.obj / "built")

    def configure(self) -> None:
        """Make .config anew if what is wanted changed, or it is not what is wanted."""
        wanted = fragments(self.kernel.fragments)
        text = "".join(f"{symbol}={value}\n" for symbol, value in wanted.items())
        fragment, config = self.kernel.obj / "wanted.config", self.kernel.obj / ".config"
        if fragment.exists() and fragment.read_text() == text and config.exists() and \
                not missing(wanted, config, self.kernel.stock):
            return
        fragment.write_text(text)
        configure = [*self.command, f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig"]
        if subprocess.run(configure, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                          env=self.environment, check=False).returncode:
            raise KernelError("configuration failed", f"see {self.log.name}")
        lost = missing(wanted, config, self.kernel.stock)
        if lost:
            config.unlink()
            raise KernelError(f"Kconfig dropped {' '.join(lost)}",
                              "add what they depend on to vm/config/")

    def enlarge_um_state(self) -> None:
        """More space for registers; in what the compiler made, as the trees stay as they are."""
        self.make(["archprepare"])
        path = self.kernel.obj / "arch" / "x86" / "um" / "user-offsets.s"
        text = path.read_text()
        old, new = (f"->HOST_FP_SIZE ${size // 8} " for size in UM_STATE)
        if new in text:
            return
        if text.count(old) != 1:
            raise KernelError(f"HOST_FP_SIZE is not what was expected in {path}",
                              "compare UM_STATE in vm/kernel.py with it")
        path.write_text(text.replace(old, new))

    def make(self, targets: list[str]) -> None:
        """Everything into the log; errors, warnings and a sign of life on stderr."""
        process = subprocess.Popen([*self.command, *targets], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=self.environment, text=True, errors="replace")
        assert process.stdout
        start = last = time.monotonic()
        steps = shown = 0
        for line in process.stdout:
            self.log.write(line)
            steps += bool(re.match(r"  [A-Z]+ ", line))
            if re.search(r"(warning|error|undefined reference|\*\*\*)[: ]", line) and shown < 60:
                shown += 1
                note(line.rstrip())
            if time.monotonic() - last > 60:
                last = time.monotonic()
                note(f"{steps} steps, {last - start:.0f} s")
        if process.wait():
            raise KernelError(f"the {self.name} kernel does not build", f"see {self.log.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("target", nargs="*", help="what make is asked for instead of the image")
    arguments = parser.parse_args()
    log = LOG / f"kernel-{arguments.kernel}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(KERNELS[arguments.kernel].obj / "lock"), log.open("w") as stream:
            Build(arguments.kernel, stream).run(arguments.target)
    except KernelError as error:
        sys.exit(f"kernel: {error}")


if __name__ == "__main__":
    main()
