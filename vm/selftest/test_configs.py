# SPDX-License-Identifier: GPL-2.0
"""Which files a configuration compiles, read from Makefiles like the kernel's."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import configs

MAKEFILES = {
    "fs": "obj-$(CONFIG_PROC_FS)\t\t+= proc/\nobj-y := exec.o pipe.o\n",
    "fs/proc": "proc-y += base.o array.o\nproc-$(CONFIG_PROC_PAGE_MONITOR)\t+= page.o\n",
    "kernel": "obj-y = fork.o \\\n\tsys.o\nobj-$(CONFIG_CGROUPS) += cgroup/\n",
    "kernel/cgroup": ("obj-y := cgroup.o\nifdef CONFIG_KSM\n"
                      "obj-$(CONFIG_MEMCG) += ksm.o ksm-files.o\nendif\n"),
    "mm": ("mmu-$(CONFIG_MMU)\t:= memory.o\nifdef CONFIG_MMU\n"
           "\tobj-$(CONFIG_ADVISE_SYSCALLS)\t+= madvise.o\nendif\n"
           "obj-$(CONFIG_MIGRATION) += migrate.o\n"
           "obj-$(CONFIG_DEVICE_MIGRATION) += migrate_device.o\n"),
}
FILES = ("fs/exec.c", "fs/proc/base.c", "fs/proc/page.c", "include/linux/ksm.h",
         "kernel/cgroup/cgroup.c", "kernel/cgroup/ksm.c", "kernel/fork.c", "mm/ksm/core.c",
         "mm/madvise.c", "mm/memory.c", "mm/migrate.c", "mm/migrate_device.c")
ALL = ("PROC_FS", "PROC_PAGE_MONITOR", "CGROUPS", "KSM", "MEMCG", "MMU", "ADVISE_SYSCALLS",
       "MIGRATION", "DEVICE_MIGRATION")


class Compiled(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in MAKEFILES.items():
            path = Path(folder.name, name, "Makefile")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        wanted = {"mm/ksm.c": None, **{name: Path(name) for name in FILES}}
        for patch in (mock.patch.object(configs, "LINUX", Path(folder.name)),
                      mock.patch.object(configs.tree, "wanted", lambda: wanted)):
            patch.start()
            self.addCleanup(patch.stop)

    def without(self, *symbols: str) -> set[str]:
        """What is compiled with all symbols and not with all but these."""
        config = {f"CONFIG_{symbol}": "y" for symbol in ALL}
        everything = set(configs.compiled(config))
        self.assertEqual(everything, {"mm/ksm/", *(name[:-2] + ".o" for name in FILES
                                                   if name.endswith(".c")
                                                   and name != "mm/ksm/core.c")})
        for symbol in symbols:
            del config[f"CONFIG_{symbol}"]
        return everything - set(configs.compiled(config))

    def test_engine(self) -> None:
        self.assertEqual(self.without("KSM"), {"mm/ksm/", "kernel/cgroup/ksm.o"})

    def test_object(self) -> None:
        self.assertEqual(self.without("MEMCG"), {"kernel/cgroup/ksm.o"})
        self.assertEqual(self.without("ADVISE_SYSCALLS"), {"mm/madvise.o"})

    def test_longer_name(self) -> None:
        self.assertEqual(self.without("MIGRATION"), {"mm/migrate.o"})
        self.assertEqual(self.without("DEVICE_MIGRATION"), {"mm/migrate_device.o"})

    def test_folder(self) -> None:
        self.assertEqual(self.without("PROC_FS"), {"fs/proc/base.o", "fs/proc/page.o"})


class Cases(unittest.TestCase):
    def test_values(self) -> None:
        case = configs.Case("x", "-SMP HZ=100 RT", "s390", "s390x-linux-gnu-")
        self.assertEqual(case.values,
                         {"CONFIG_SMP": "n", "CONFIG_HZ": "100", "CONFIG_RT": "y"})
        self.assertEqual(case.package, "gcc-s390x-linux-gnu")

    def test_names(self) -> None:
        names = [case.name for case in configs.CASES]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
