# SPDX-License-Identifier: GPL-2.0
"""vm/facts.py: each difference is found, and named in one line."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import facts  # noqa: E402, in the folder above

SOURCES = "{mm/ksm,kernel/cgroup,include/linux}"
STAT = "tools/ksm-cgroup/man/memory.ksm.stat.5"
FILES = "tools/ksm-cgroup/man/memory.ksm.5"
SCAN = "tools/ksm-cgroup/man/memory.ksm.scan.5"
COMMAND = "tools/ksm-cgroup/man/ksm-cgroup.1"
HOOK = "integration/"

# Where, what, what instead, and what the line has to say.
EDITS = (
    # a key that is removed, renamed, moved, has another kind or unit
    (STAT, ".TP\n.B cow_breaks\n(pages) merged pages that were written to\n", "",
     "memory.ksm.stat.5: keys: cow_breaks missing"),
    (STAT, "(microseconds)", "(milliseconds)", "scan_usec: unit is milliseconds"),
    (STAT, ".B pages_foreign", ".B pages_strange", "keys: pages_strange not in"),
    (facts.GUIDE, "  cow_breaks (event, pages)", "  cow_breaks (gauge, pages)",
     "cow_breaks: kind is gauge"),
    (facts.GUIDE, "  pages_merged (event, pages)", "  merged (event, pages)",
     "pages_merged missing"),
    (facts.GUIDE, "ksm_mergeable\n", "ksm_able\n", "ksm_stat: keys: ksm_mergeable missing"),
    (facts.GUIDE, '"merge", "never" or', '"merge", "no" or', "ksm_policy: values: never missing"),
    (SOURCES, '"cow_breaks %', '"cow_broken %', "memory_ksm_stat_show(): keys: cow_breaks missing"),
    (SOURCES, '"ksm_policy: %', '"ksm_says: %', "ksm_proc_stat_show(): keys: ksm_policy missing"),
    (SOURCES, '"never"', '"no"', "no ksm_policy never"),
    ("tools/ksm-cgroup", '= "scan_usec"', '= "scan_msec"', "tools/ksm-cgroup: keys"),
    # a value
    (facts.README, "`madvise`, `0` |", "`0`, `madvise` |", "memory.ksm: values: inherit, 1, 0"),
    (facts.README, "`self` (default), `parent`", "`self` (default)", "values: parent missing"),
    (facts.GUIDE, "\t  parent  this", "\t  above   this",
     "memory.ksm.domain: values: parent missing"),
    (facts.GUIDE, "\t  @NAME   this", "\t  NAME    this",
     "memory.ksm.domain: values: @NAME missing"),
    (facts.README, "`parent`, `@NAME` |", "`parent`, `NAME` |", "values: @NAME missing"),
    (FILES, ".TP\n.B madvise\nonly", ".TP\n.B asked\nonly",
     "memory.ksm.5: values: madvise missing"),
    (COMMAND, "CGROUP self | parent", "CGROUP self | above", "ksm-cgroup.1: values of the domain"),
    (COMMAND, "Write 1, 0, madvise or", "Write 1, 0 or", "ksm-cgroup.1: values of memory.ksm"),
    (SOURCES, '= "inherit"', '= "default"', "setting names: values of memory.ksm"),
    (SOURCES, '(buf, "parent")', '(buf, "above")', "memory.ksm.domain: no value parent"),
    (SOURCES, "*buf == '@'", "*buf == '='", "memory.ksm.domain: no value @NAME"),
    (facts.GUIDE, "\t  2  unshare", "\t  4  unshare", "run: values: 2 missing"),
    # a default
    (facts.README, "1 to 10000, default 100", "1 to 10000, default 10", "weight: default is 10,"),
    (facts.README, "kernel: `0` (default)", "kernel: `1` (default)", "run: default is 1"),
    (facts.README, "`1` (default): scan and", "`1`: scan and", "run_cgroups: default"),
    (facts.README, "root starts with `madvise`", "root starts with `0`",
     "memory.ksm: default of the root is 0"),
    (facts.GUIDE, 'default is "inherit"', 'default is "0"', "memory.ksm: default is 0"),
    (facts.GUIDE, 'The default is "1": a unique', 'The default is "0": a unique',
     "smart_scan: default is 0"),
    (FILES, "The default is\n.BR self .", "The default is\n.BR parent .",
     "memory.ksm.domain.5: default is parent"),
    (SOURCES, "parent ? KSM_INHERIT", "parent ? KSM_NEVER", "memory.ksm: default is 0"),
    (SOURCES, "smart_scan = true", "smart_scan = false", "smart_scan: default is 0"),
    (SOURCES, ".run = KSM_RUN_STOP", ".run = KSM_RUN_SCAN", "run: default is 1"),
    (SOURCES, ".run_cgroups = 1", ".run_cgroups = 0", "run_cgroups: default is 0"),
    # a range
    (facts.README, "1 to 10000, default", "1 to 1000, default", "weight: range is 1 to 1000"),
    (facts.GUIDE, "range [1, 10000]", "range [0, 10000]", "weight: range is 0 to 10000"),
    (FILES, "[1, 10000]", "[1, 100]", "memory.ksm.weight.5: range is 1 to 100"),
    (COMMAND, "[1, 10000]", "[1, 100]", "ksm-cgroup.1: range of the weight is 1 to 100"),
    # an error
    (facts.GUIDE, "\t  EAGAIN   ``run``", "\t  EBUSY    ``run``",
     "memory.ksm.scan: errors: EAGAIN missing"),
    (facts.GUIDE, "  EINTR    a signal arrived while unsharing, and", "  ENODEV   a signal,",
     "prctl: errors: EINTR missing"),
    (facts.GUIDE, "\t  EINVAL   not a number", "\t  ERANGE   not a number",
     "memory.ksm.weight: errors: ERANGE not in"),
    (facts.GUIDE, "\t  EPERM    a name", "\t  EACCES   a name",
     "memory.ksm.domain: errors: EPERM missing"),
    (SOURCES, "(of))\n\t\treturn -EPERM;", "(of))\n\t\treturn -EACCES;",
     "memory.ksm.domain: a write gives EACCES"),
    (SCAN, ".B EAGAIN\nNothing", ".B EBUSY\nNothing", "memory.ksm.scan.5: errors: EBUSY not in"),
    (FILES, ".TP\n.B ENODEV\nThe cgroup was removed meanwhile.\n", "",
     "memory.ksm.5: errors: ENODEV missing"),
    (SOURCES, "-ENODEV if the cgroup is gone", "-ENOENT if the cgroup is gone",
     "memory.ksm: a write gives ENOENT"),
    (SOURCES, "-EAGAIN if settings", "-EBUSY if settings",
     "memory.ksm.scan: nothing gives EAGAIN"),
    # a file
    (facts.GUIDE, "  memory.ksm.effective\n", "  memory.ksm.real\n",
     "files of a cgroup: memory.ksm.real not in"),
    (facts.GUIDE, "A write-only file", "A read-write file", "scan: access is read-write"),
    (facts.GUIDE, "which exists on non-root cgroups.  The\n\tdefault is \"self\"",
     "which exists on all cgroups.  The\n\tdefault is \"self\"", "cgroups that have it is all"),
    (facts.GUIDE, "pages_shared\n\tFrames", "pages_common\n\tFrames", "pages_common not in"),
    (facts.GUIDE, "threads\n\tThe number", "use_zero_pages\n\tThe number",
     "threads missing, but new"),
    (facts.README, "| `memory.ksm.stat`", "| `memory.ksm.stats`",
     "README.md: files of a cgroup: memory.ksm.stat missing"),
    (FILES, ", memory.ksm.domain,", ",", "NAME section does not have memory.ksm.domain"),
    (FILES, "Read-only. The value", "The value", "memory.ksm.effective.5: access is read-write"),
    ("kernel/cgroup", '.name = "ksm.scan"', '.name = "ksm.scans"',
     "kernel/cgroup: files of a cgroup: memory.ksm.scan missing"),
    ("kernel/cgroup", ".flags = CFTYPE_NS_DELEGATABLE,\n", "",
     "memory.ksm.scan: a delegate's write"),
    (SOURCES, "&smart_scan_attr.attr,", "&clever_scan_attr.attr,", "files: smart_scan missing"),
    (SOURCES, "__ATTR_RW(threads)", "__ATTR_RO(threads)", "threads: access is read-only"),
    # what is added to the kernel's pages
    (HOOK + "78-doc-cgroup-v2.edit", "+  memory.ksm.scan\n", "+  memory.ksm.scans\n",
     "cgroup-v2.rst by integration: files of a cgroup: memory.ksm.scan missing"),
    (HOOK + "78-doc-cgroup-v2.edit", '"inherit"; on', '"madvise"; on', "memory.ksm: default is"),
    (HOOK + "78-doc-cgroup-v2.edit", "+\t  madvise  only", "+\t  asked    only",
     "by integration: memory.ksm: values: madvise missing"),
    (HOOK + "78-doc-cgroup-v2.edit", "A write-only file", "A read-write file",
     "by integration: memory.ksm.scan: access is read-write"),
    (HOOK + "78-doc-cgroup-v2.edit", "[1, 10000]", "[1, 1000]", "range is 1 to 1000"),
    (HOOK + "79-doc-abi.edit", "ksm/run_cgroups\n", "ksm/run_groups\n",
     "new files: run_cgroups missing"),
    (HOOK + "79-doc-abi.edit", "\tthreads: how", "\tksmd: how", "described: threads missing"),
    (HOOK + "79-doc-abi.edit", "write 0 to leave cgroups alone at or below one\n+\t\twhose own "
     "memory.ksm counts, 1", "write 1 to leave cgroups alone at or below one\n+\t\twhose own "
     "memory.ksm counts, 0", "run_cgroups: default is 0"),
    (HOOK + "80-doc-vmflags.edit", "    nm    ", "    um    ", "letters of VM_NOMERGE is um"),
    (HOOK + "15-vm-nomerge-smaps.edit", '"nm"', '"no"', "letters of VM_NOMERGE is no"),
    (facts.GUIDE, '"nm" for', '"un" for', "letters of VM_NOMERGE is un"),
    (HOOK + "13-vm-nomerge-trace-macro.edit", '"nomerge"', '"unmerge"', "VM_NOMERGE is unmerge"),
    (HOOK + "82-doc-proc-stat.edit", "+ksm_mergeable\n", "+ksm_able\n",
     "proc.rst by integration: ksm_stat: keys: ksm_mergeable missing"),
    (HOOK + "82-doc-proc-stat.edit", '"never"', '"no"', "ksm_policy: values: never missing"),
    # what holds for each pair of values
    (facts.GUIDE, "madvise               madvise  0  own madvise  own 1  madvise ",
     "madvise               madvise  0  own madvise  own 1  own 1   ", "rst: what holds for each"),
    (facts.PAIRS, '{ "1", "0", "own madvise"', '{ "0", "0", "own madvise"', "ksmpairs.h: not as"),
    ("mm/ksm", "if (above->setting != KSM_NEVER)", "if (above->setting != KSM_ALWAYS)",
     "rst: what holds for each"),
    ("mm/ksm", "result.granted = own == KSM_ALWAYS;", "result.granted = true;",
     "ksmpairs.h: not as"),
    ("mm/ksm", "|| above->granted)", "|| above->owned)", "rst: what holds for each"),
    ("mm/ksm", "ksm_config_resolve(", "ksm_config_other(", "no function ksm_config_resolve()"),
    ("mm/ksm", "result = *above;", "result = above();", "ksm_config_resolve() does not compile"),
    # prctl
    (facts.README, "(PR_SET_MEMORY_MERGE, 0, 1, 0, 0)", "(PR_SET_MEMORY_MERGE, 0, 2, 0, 0)",
     "README.md: prctl() calls"),
    (facts.GUIDE, "PR_MEMORY_MERGE_DEFAULT is 1", "PR_MEMORY_MERGE_DEFAULT is 2",
     "prctl: constants"),
    ("integration", "PR_MEMORY_MERGE_DEFAULT\t1", "PR_MEMORY_MERGE_DEFAULT\t2",
     "integration: prctl constants"),
    # trace events
    (facts.GUIDE, "ksm_enter, ksm_exit ", "ksm_enter           ", "trace events: ksm_exit missing"),
    (facts.EVENTS, "TRACE_EVENT(ksm_slice,", "TRACE_EVENT(ksm_part,", "events: ksm_slice missing"),
    (facts.EVENTS, "__field(u64, cgroup)),\n\t    TP_fast_assign(__entry->cgroup = "
     "ksm_slot_cgroup(slot);\n\t\t\t   __entry->cost", "),\n\t    TP_fast_assign(__entry->cost",
     "ksm_slice: a field cgroup is False"),
    # paths and targets
    (facts.README, "(Documentation/mm/ksm-cgroup.rst)", "(Documentation/mm/gone.rst)",
     "README.md: Documentation/mm/gone.rst does not exist"),
    (facts.README, "\n    bench/ ", "\n    benches/ ", "README.md: benches/ does not exist"),
    (facts.README, "    make style ", "    make stile ", "make stile: the Makefile has no such"),
    ("MAINTAINERS", "F:\tmm/ksm/", "F:\tmm/ksm2/", "MAINTAINERS: mm/ksm2/ does not exist"),
)


class Copy(unittest.TestCase):
    """Has a copy of the repository to break."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name) / "copy"
        shutil.copytree(facts.TOP, self.top, symlinks=True,
                        ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))

    def holder(self, where: str, old: str) -> Path:
        """The file named, or the one below a folder that has the text."""
        path = self.top / where
        if path.is_file():
            return path
        folders = where.strip("{}").split(",")
        for folder in folders:
            for path in sorted((self.top / folder).rglob("*")):
                if path.is_file() and path.suffix in (".c", ".h", ".edit") and \
                        "tests" not in path.parts and old in path.read_text():
                    return path
        self.fail(f"{where} does not have {old!r}: adapt the test")


class Differences(Copy):
    def test_none(self) -> None:
        """The repository as it is has no difference."""
        self.assertEqual(facts.differences(self.top), [])

    def test_each_edit(self) -> None:
        for where, old, new, want in EDITS:
            with self.subTest(where=where, old=old):
                path = self.holder(where, old)
                before = path.read_text()
                self.assertIn(old, before, "adapt the test")
                path.write_text(before.replace(old, new))
                try:
                    lines = facts.differences(self.top)
                finally:
                    path.write_text(before)
                self.assertTrue(any(want in line for line in lines), f"{want!r} not in {lines}")
                self.assertFalse([line for line in lines if "\n" in line])

    def test_each_fact(self) -> None:
        """Nothing is in the tables only: another word or number there is a difference.

        Except for "new", which only the stock kernel's files could contradict.
        """
        path = self.top / facts.TABLES
        text = path.read_text()
        fields = {"access", "root", "values", "default", "root_default", "errors", "delegated",
                  "range", "new", "keys", "policies", "calls", "events", "global"}
        tried = 0
        word = r'"([^"]+)"|\b(true|false)\b|(?<!\.)\b(\d+)\b|^(\w+)(?= =)'
        for found in re.finditer(rf"new = true|#.*|{word}", text, re.M):
            if found[0].startswith(("#", "new")) or found[4] in fields:
                continue
            tried += 1
            other = {"true": "false", "false": "true"}.get(found[2]) or (
                '"other"' if found[1] else "7" if found[3] else "other")
            with self.subTest(line=text[:found.start()].count("\n") + 1, word=found[0]):
                path.write_text(text[:found.start()] + other + text[found.end():])
                self.assertTrue(facts.differences(self.top))
        self.assertGreater(tried, 150)

    def test_function_gone(self) -> None:
        """What cannot be found is a difference, not a pass."""
        for name in ("memory_ksm_stat_show", "ksm_proc_stat_show", "setting_names",
                     "KSM_WEIGHT_DFL", "struct attribute *"):
            with self.subTest(name=name):
                texts = {path: path.read_text() for path in self.top.rglob("*.[ch]")
                         if "tests" not in path.parts}
                holders = {path: text for path, text in texts.items() if name in text}
                self.assertTrue(holders)
                for path, text in holders.items():
                    path.write_text(text.replace(name, "gone "))
                lines = facts.differences(self.top)
                for path, text in holders.items():
                    path.write_text(text)
                self.assertTrue(any("sources: no" in line or name in line for line in lines), lines)


class Program(Copy):
    def run_it(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(facts.TOP / "vm" / "facts.py"), str(self.top)],
                              capture_output=True, text=True, check=False)

    def test_status(self) -> None:
        done = self.run_it()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        path = self.top / facts.README
        path.write_text(path.read_text().replace("default 100", "default 10"))
        done = self.run_it()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "README.md: memory.ksm.weight: default is 10, but 100 in "
                                      "vm/facts.toml\n")


if __name__ == "__main__":
    unittest.main()
