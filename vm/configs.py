#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compile the engine and its hooks for other architectures and configurations.

Compiled are mm/ksm/, kernel/cgroup/ksm*.c and the files that integration/ changes,
as far as each configuration has them, with W=1 and every warning an error. A cross
compiler that is not installed is a skip; vm/configs.py says which package has it.
Objects stay in build/obj/configs/, so that a second run compiles what changed.
Logs: build/log/configs-NAME.log.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import kernel
import tree
from common import BUILD, LOG, HintError, locked

LINUX = BUILD / "linux"


@dataclass(frozen=True)
class Case:
    """Differences to vm/config/engine.config: SYMBOL, SYMBOL=value, -SYMBOL for off."""
    name: str
    changes: str = ""
    arch: str = "x86_64"
    cross: str = ""

    @property
    def values(self) -> dict[str, str]:
        pairs = ((word[1:], "n") if word.startswith("-") else word.partition("=")[::2]
                 for word in self.changes.split())
        return {f"CONFIG_{symbol}": value or "y" for symbol, value in pairs}

    @property
    def compiler(self) -> str:
        return f"{self.cross}gcc"

    @property
    def package(self) -> str:
        return f"gcc-{self.cross.removesuffix('-').replace('_', '-')}"


# What a case names, it has; of the rest it has what does not depend on that.
NO_MIGRATION = ("-MIGRATION -COMPACTION -TRANSPARENT_HUGEPAGE -NUMA_BALANCING "
                "-MEMORY_HOTREMOVE -CMA")
CASES = (
    Case("x86", "X86_MCE MEMORY_FAILURE ZONE_DEVICE DEVICE_PRIVATE CHECKPOINT_RESTORE "
         "MEM_SOFT_DIRTY"),
    Case("no-ksm", "-KSM"),
    Case("no-memcg", "-MEMCG"),
    Case("no-ksm-memcg", "-KSM -MEMCG"),
    Case("no-numa", "-NUMA"),
    Case("no-smp", "-SMP"),
    Case("no-swap", "-SWAP"),
    Case("no-hotremove", "-MEMORY_HOTREMOVE"),
    Case("no-migration", NO_MIGRATION),
    Case("no-thp", "-TRANSPARENT_HUGEPAGE"),
    Case("no-sysfs-proc", "-SYSFS -PROC_FS"),
    Case("no-tracing", "-FTRACE -KUNIT -DEBUG_VM"),
    Case("smallest", f"{NO_MIGRATION} -MEMCG -NUMA -SMP -SWAP -SYSFS -PROC_FS -FTRACE -KUNIT "
         "-DEBUG_VM -USERFAULTFD -VM_EVENT_COUNTERS -SHMEM -BLOCK -LRU_GEN -MEMORY_HOTPLUG"),
    Case("rt", "PREEMPT_RT"),
    Case("lockdep", "PREEMPT PROVE_LOCKING DEBUG_ATOMIC_SLEEP"),
    Case("i386", "-64BIT X86_32 HIGHMEM HIGHMEM4G HIGHPTE", "i386"),
    Case("i386-pae", "-64BIT X86_32 HIGHMEM HIGHMEM64G X86_PAE TRANSPARENT_HUGEPAGE "
         "-MEMCG", "i386"),
    Case("arm64", "MEMORY_FAILURE", "arm64", "aarch64-linux-gnu-"),
    Case("arm64-64k", "ARM64_64K_PAGES", "arm64", "aarch64-linux-gnu-"),
    Case("riscv64", "", "riscv", "riscv64-linux-gnu-"),
    Case("s390x", "", "s390", "s390x-linux-gnu-"),
)


class ConfigError(HintError):
    """A case is not configured as it says, or does not compile."""


def condition(folder: Path, entry: str) -> str | None:
    """The symbol on which a Makefile builds an entry; None: always."""
    text = (folder / "Makefile").read_text()
    found = re.search(rf"^\s*[\w-]+-\$\((CONFIG_\w+)\)\s*[:+]?=.*(?<![\w-]){re.escape(entry)}",
                      text, re.M)
    return found and found[1]


def compiled(config: dict[str, str]) -> list[str]:
    """The objects of the engine and of its hooks that a configuration has."""
    ours = [name for name, origin in tree.wanted().items()
            if origin and name.endswith(".c") and name.startswith(("fs/", "kernel/", "mm/"))
            and not name.startswith("mm/ksm/")]
    targets = ["mm/ksm/"] if "CONFIG_KSM" in config else []
    for name in ours:
        path = Path(name)
        needs = [condition(LINUX / path.parent, f"{path.stem}.o"),
                 *(condition(LINUX / folder.parent, f"{folder.name}/")
                   for folder in path.parents if len(folder.parts) > 1)]
        if path.stem.startswith("ksm"):
            needs.append("CONFIG_KSM")
        if all(symbol is None or symbol in config for symbol in needs):
            targets.append(str(path.with_suffix(".o")))
    return targets


def values(config: Path) -> dict[str, str]:
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)", config.read_text(), re.M))


class Compilation:
    def __init__(self, case: Case, jobs: int) -> None:
        self.case = case
        self.obj = BUILD / "obj" / "configs" / case.name
        self.log = LOG / f"configs-{case.name}.log"
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in kernel.FOREIGN}
        self.environment.update(kernel.REPRODUCIBLE)
        self.command = ["make", "-k", "-C", str(LINUX), f"O={self.obj}", f"ARCH={case.arch}",
                        f"-j{jobs}", "W=1"]
        if case.cross:
            self.command.append(f"CROSS_COMPILE={case.cross}")

    def make(self, *targets: str) -> bool:
        with self.log.open("a") as stream:
            return not subprocess.run([*self.command, *targets], stdin=subprocess.DEVNULL,
                                      stdout=stream, stderr=stream, env=self.environment,
                                      check=False).returncode

    def configure(self) -> dict[str, str]:
        wanted = kernel.fragments(["engine"])
        wanted.update(self.case.values)
        text = "".join(f"{symbol}={value}\n" for symbol, value in wanted.items())
        fragment, config = self.obj / "wanted.config", self.obj / ".config"
        if not (fragment.exists() and fragment.read_text() == text and config.exists()):
            fragment.write_text(text)
            if not self.make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig"):
                raise ConfigError("no configuration", f"see {self.log}")
        have = values(config)
        sure = {"CONFIG_WERROR": "y", "CONFIG_KSM": "y", **self.case.values}
        lost = [f"{symbol}={value}" for symbol, value in sure.items()
                if have.get(symbol, "n") != value]
        if lost:
            config.unlink()
            raise ConfigError(f"Kconfig has not {' '.join(lost)}", "see CASES in vm/configs.py")
        return have

    def run(self) -> int:
        """Returns how many objects were asked for."""
        self.obj.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        targets = compiled(self.configure())
        if not self.make(*targets):
            errors = [line.replace(f"{LINUX}/", "") for line in
                      self.log.read_text(errors="replace").splitlines()
                      if re.search(r"(error|\*\*\*):? ", line) and "] Error " not in line]
            raise ConfigError("\n    ".join(["does not compile", *dict.fromkeys(errors)]),
                              f"see {self.log}")
        return len(targets)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*",
                        help=f"one of {', '.join(case.name for case in CASES)}; default: all")
    parser.add_argument("-j", dest="jobs", type=int, default=len(os.sched_getaffinity(0)),
                        help="compilers at a time; default: one for each CPU")
    arguments = parser.parse_args()
    wanted = arguments.case
    unknown = sorted(set(wanted) - {case.name for case in CASES})
    if unknown:
        parser.error(f"no case {' '.join(unknown)}")
    counts = {"ok": 0, "skip": 0, "fail": 0}
    for case in CASES:
        if wanted and case.name not in wanted:
            continue
        start = time.monotonic()
        if not shutil.which(case.compiler):
            verdict, said = "skip", f"{case.compiler} is missing: apt-get install {case.package}"
        else:
            try:
                with locked(BUILD / "obj" / "configs" / "lock"):
                    verdict, said = "ok", f"{Compilation(case, arguments.jobs).run()} targets"
            except ConfigError as error:
                verdict, said = "fail", str(error)
        counts[verdict] += 1
        print(f"{verdict:<5} {case.name}: {said}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"==> configs: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}")
    return 1 if counts["fail"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
