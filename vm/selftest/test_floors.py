# SPDX-License-Identifier: GPL-2.0
"""The check of the floors finds what it is there for, in the engine's own sources."""
from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

import floors

PLACES = ("mm/ksm", "kernel/cgroup", "Documentation/mm")


class Floors(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        for place in PLACES:
            shutil.copytree(floors.TOP / place, self.top / place)

    def change(self, name: str, old: str, new: str) -> None:
        path = self.top / name
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def append(self, name: str, text: str) -> None:
        path = self.top / name
        path.write_text(path.read_text() + text)

    def found(self, *words: str) -> None:
        findings = floors.check(self.top)
        self.assertTrue(any(all(word in line for word in words) for line in findings),
                        f"{words} not in {findings}")

    def test_as_it_is(self) -> None:
        self.assertEqual(floors.check(self.top), [])

    def test_upwards(self) -> None:
        self.append("mm/ksm/gate.c", "\nvoid ksm_gate_up(void)\n{\n\tksm_round_check();\n}\n")
        self.found("mm/ksm/gate.c", "ksm_round_check()", "upwards", "from base to objects")

    def test_upwards_by_argument(self) -> None:
        self.append("mm/ksm/gate.c", "\nvoid ksm_gate_up(void)\n{\n\tcall(1, ksm_round_check);\n}\n")
        self.found("mm/ksm/gate.c", "ksm_round_check()", "upwards")

    def test_into_the_cgroup_side(self) -> None:
        self.append("mm/ksm/core.c", "\nvoid ksm_core_up(void)\n{\n\tksm_memcg_free(NULL);\n}\n")
        self.found("mm/ksm/core.c", "ksm_memcg_free()", "from doors to cgroup")

    def test_circle(self) -> None:
        # orphan.c calls frame.c already
        self.append("mm/ksm/frame.c", "\nvoid ksm_frame_up(void)\n{\n\tksm_recs_free(NULL);\n}\n")
        self.found("circle", "mm/ksm/frame.c", "mm/ksm/orphan.c")

    def test_comments_are_no_calls(self) -> None:
        self.append("mm/ksm/gate.c",
                    "\nvoid ksm_gate_up(void)\n{\n\t/* ksm_round_check() */\n"
                    "\tpr_info(\"ksm_round_check()\\n\");\n}\n")
        self.assertEqual(floors.check(self.top), [])

    def test_on_no_floor(self) -> None:
        (self.top / "mm/ksm/new.c").write_text("/* new */\n")
        self.found("mm/ksm/new.c", "no floor")

    def test_gone(self) -> None:
        (self.top / "mm/ksm/pool.c").unlink()
        self.found("pool.c does not exist")

    def test_long(self) -> None:
        self.append("mm/ksm/pool.c", "\n" * floors.LONGEST)
        self.found("mm/ksm/pool.c", "lines, more than")

    def test_long_header(self) -> None:
        self.append("mm/ksm/slot.h", "\n" * floors.LONGEST)
        self.found("mm/ksm/slot.h", "lines, more than")

    def test_private_header(self) -> None:
        self.change("kernel/cgroup/ksm.c", '#include "ksm.h"', '#include "../../mm/ksm/ksm.h"')
        self.found("kernel/cgroup/ksm.c", "private header")

    def test_picture(self) -> None:
        self.change("mm/ksm/Makefile", "domain.o pool.o", "pool.o domain.o")
        self.found("ksm-cgroup.rst", "floor books")


if __name__ == "__main__":
    unittest.main()
