#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the sources and the documentation with the tables of vm/facts.toml.

What the interface is called, takes, defaults to and answers is said in several
places: README.md, the admin guide, the manual, the sources, what integration/
adds to the kernel's own pages. Each difference to the tables is one line; any
difference is a failure.

Files of the engine are found by pattern: a function or a macro may move to
another file below mm/ksm/ or kernel/cgroup/ksm*.c.
"""
import argparse
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pairs

Facts = dict[str, Any]
TOP = Path(__file__).resolve().parent.parent
TABLES = "vm/facts.toml"
README = "README.md"
GUIDE = "Documentation/admin-guide/mm/ksm-cgroup.rst"
MANUAL = "tools/ksm-cgroup/man"
EVENTS = "include/trace/events/ksm.h"
PAIRS = "selftests/ksmpairs.h"
# Pages of the kernel to which integration/ adds.
CGROUP_PAGE = "Documentation/admin-guide/cgroup-v2.rst"
ABI_PAGE = "Documentation/ABI/testing/sysfs-kernel-mm-ksm"
PROC_PAGE = "Documentation/filesystems/proc.rst"
# In the kernel tree, and where they are here.
MOVED = {"tools/testing/selftests/ksm_cgroup/": "selftests/"}


class Missing(Exception):
    """Something to be compared is not where it is looked for."""


def compare(where: str, what: str, got: object, want: object) -> Iterator[str]:
    """Nothing if both are the same, else a line that says how they differ."""
    if got == want:
        return
    if not isinstance(want, list) or not isinstance(got, list):
        yield f"{where}: {what} is {got}, but {want} in {TABLES}"
        return
    lost = [str(item) for item in want if item not in got]
    more = [str(item) for item in got if item not in want]
    if lost:
        yield f"{where}: {what}: {', '.join(lost)} missing, but in {TABLES}"
    if more:
        yield f"{where}: {what}: {', '.join(more)} not in {TABLES}"
    if not lost and not more:
        yield (f"{where}: {what}: {', '.join(map(str, got))}, but in {TABLES} the order is "
               f"{', '.join(map(str, want))}")


def first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def span(text: str) -> str | None:
    """A range as in "1 to 10000" or "[1, 10000]"."""
    found = re.search(r"\b(\d+) to (\d+)\b|\[(\d+), (\d+)\]", text)
    return " to ".join(number for number in found.groups() if number) if found else None


# README.md


def readme(top: Path, facts: Facts) -> Iterator[str]:
    text = (top / README).read_text()
    table = {cells[0].strip("`"): cells for cells in
             ([cell.strip() for cell in line.strip("| ").split(" |")]
              for line in text.splitlines() if line.startswith("| `"))}
    files = [name for name in table if name.startswith("memory.")]
    yield from compare(README, "files of a cgroup", files, list(facts["cgroup"]))
    for name in files:
        if name in facts["cgroup"]:
            yield from readme_file(f"{README}: {name}", table[name], facts["cgroup"][name])
    for name in ("run", "run_cgroups"):
        row, fact = table.get(f"/sys/kernel/mm/ksm/{name}", ["", ""]), facts["host"][name]
        yield from compare(f"{README}: {name}", "values",
                           sorted(set(re.findall(r"`(\d)`:", row[1].replace(" (default)", "")))),
                           fact["values"])
        yield from compare(f"{README}: {name}", "default", first(r"`(\w+)` \(default\)", row[1]),
                           fact["default"])
    said = [call[6:-1] for call in table if call.startswith("prctl(")]
    yield from compare(README, "prctl() calls", said,
                       [call for call in numeric_calls(facts) if call.startswith("PR_SET")])
    keys = re.findall(r"`(\w+)`", " ".join(table.get("/proc/PID/ksm_stat", [])[1:]))
    for key in keys:
        if key not in facts["process"]["keys"]:
            yield f"{README}: /proc/PID/ksm_stat: {key} not in {TABLES}"
    yield from readme_paths(top, text)


def readme_file(where: str, cells: Sequence[str], fact: Facts) -> Iterator[str]:
    values = cells[1]
    yield from compare(where, "values", re.findall(r"`(@?\w+)`", values), fact.get("values", []))
    yield from compare(where, "default", first(r"`(\w+)` \(default\)", values) or
                       first(r"default (\w+)", values), fact.get("default"))
    yield from compare(where, "range", span(values), fact.get("range"))
    yield from compare(where, "access", first(r"((?:read|write)-only)", values) or "read-write",
                       fact["access"])
    yield from compare(where, "default of the root",
                       first(r"[Rr]oot starts with `(\w+)`", cells[2]), fact.get("root_default"))


def numeric_calls(facts: Facts) -> list[str]:
    """The prctl() calls with constants that are new replaced by their values."""
    calls = []
    for call in facts["prctl"]["calls"]:
        for name, value in facts["prctl"]["constants"].items():
            call = call.replace(name, str(value))
        calls.append(call)
    return calls


def readme_paths(top: Path, text: str) -> Iterator[str]:
    """What is linked or listed is there, and so are the targets of make."""
    links = re.findall(r"\]\(([^):]+)\)", text)
    listed = re.findall(r"^    (\S+)", text.partition("## What is where")[2].partition("## ")[0],
                        re.M)
    if not listed:
        raise Missing(f"{README}: no section 'What is where'")
    for path in links + listed:
        if not any(top.glob(path.rstrip("/"))):
            yield f"{README}: {path} does not exist"
    targets = re.findall(r"^([\w-]+(?: [\w-]+)*):", (top / "Makefile").read_text(), re.M)
    known = {target for line in targets for target in line.split()}
    named = re.findall(r"(?:`|^    )make\s+([a-z][\w-]*)", text, re.M)
    for target in sorted(set(named) - known):
        yield f"{README}: make {target}: the Makefile has no such target"


# The admin guide


def section(text: str, title: str) -> str:
    """What is below a heading that is underlined with "="."""
    parts = re.split(r"^(\S.*)\n=+\n", text, flags=re.M)
    for heading, body in zip(parts[1::2], parts[2::2]):
        if heading == title:
            return body
    raise Missing(f"{GUIDE}: no section '{title}'")


def tables(text: str) -> list[list[str]]:
    """The first column of each simple table, without headings."""
    result: list[list[str]] = []
    lines = iter(text.splitlines())
    for line in lines:
        rule = re.fullmatch(r"(\s*)(=+)( +=+)+", line)
        if not rule:
            continue
        rows: list[str] = []
        for row in lines:
            if re.fullmatch(r"\s*=+( +=+)+", row):
                following = next(lines, "")
                if not following.strip():
                    break
                # A rule below the headings: what follows are the rows.
                rows, row = [], following
            cell = row[len(rule[1]):rule.end(2)].strip().strip("`")
            rows += re.split(r",\s*", cell.rstrip(",")) if cell else []
        result.append(rows)
    return result


def terms(text: str) -> dict[str, str]:
    """A definition list that is not indented: terms to what is said."""
    found = re.findall(r"^(?!\.\.)(\S.*)\n((?:\t.*\n|\n(?=\n*\t))+)", text, re.M)
    return {term: body for term, body in found}


def is_errors(rows: Sequence[str]) -> bool:
    return bool(rows) and re.fullmatch(r"E[A-Z]+", rows[0]) is not None


def guide(top: Path, facts: Facts) -> Iterator[str]:
    text = (top / GUIDE).read_text()
    body = section(text, "Interface files")
    blocks = file_blocks(body)
    yield from compare(GUIDE, "files of a cgroup", list(blocks), list(facts["cgroup"]))
    for name, block in blocks.items():
        if name in facts["cgroup"]:
            where, fact = f"{GUIDE}: {name}", facts["cgroup"][name]
            yield from described_file(where, block, fact)
            yield from guide_errors(where, block, fact, facts)
    yield from compare_stat(f"{GUIDE}: memory.ksm.stat", re.findall(
        r"^\t  (\w+) \((\w+), (\w+)\)$", blocks.get("memory.ksm.stat", ""), re.M), facts)
    effective = facts["cgroup"]["memory.ksm.effective"]["values"]
    said = [sorted(rows) for rows in tables(section(text, "Eligible memory"))]
    if sorted(effective) not in said:
        yield f"{GUIDE}: Eligible memory: no table of {', '.join(sorted(effective))}"
    yield from guide_prctl(section(text, "prctl"), facts)
    processes = terms(section(text, "/proc/PID/ksm_stat"))
    yield from compare(f"{GUIDE}: /proc/PID/ksm_stat", "keys", list(processes),
                       facts["process"]["keys"])
    yield from compare(f"{GUIDE}: ksm_policy", "values",
                       re.findall(r'"(\w+)"', processes.get("ksm_policy", "")),
                       facts["process"]["policies"])
    yield from guide_host(terms(section(text, "/sys/kernel/mm/ksm")), facts["host"])
    listed = [rows for rows in tables(section(text, "Trace events")) if rows]
    yield from compare(GUIDE, "trace events", listed[0] if listed else [],
                       facts["trace"]["events"])


def file_blocks(text: str) -> dict[str, str]:
    """Files of a cgroup as cgroup-v2.rst describes them: names to what is said."""
    return dict(re.findall(r"^  (memory\.[\w.]+)\n((?:\t.*\n|\n)*)", text, re.M))


def described_file(where: str, block: str, fact: Facts) -> Iterator[str]:
    words = " ".join(block.split())
    yield from compare(where, "access", first(r"^A ((?:read|write)-\w+) ", words), fact["access"])
    yield from compare(where, "cgroups that have it", first(r"exists on (\S+) cgroups", words),
                       "all" if fact["root"] else "non-root")
    yield from compare(where, "default", first(r'default is "(\w+)"', words), fact.get("default"))
    yield from compare(where, "default of the root", first(r'root cgroup it is "(\w+)"', words),
                       fact.get("root_default"))
    yield from compare(where, "range", span(words), fact.get("range"))
    yield from compare(where, "a delegate's write", "the cgroup is delegated may write" in words,
                       fact.get("delegated", False))
    values = [rows for rows in tables(block) if not is_errors(rows)]
    if values:
        yield from compare(where, "values", values[0], fact.get("values", []))
    else:
        yield from mentioned(where, words, fact)


def guide_errors(where: str, block: str, fact: Facts, facts: Facts) -> Iterator[str]:
    errors = [rows for rows in tables(block) if is_errors(rows)]
    same = first(r"as a write to (\S+) does, with the same errors", " ".join(block.split()))
    listed = errors[0] if errors else []
    if same:
        listed = sorted(listed + facts["cgroup"].get(same, {}).get("errors", []))
    yield from compare(where, "errors", listed, fact.get("errors", []))


def mentioned(where: str, words: str, fact: Facts) -> Iterator[str]:
    """Values without a table are at least named."""
    for value in fact.get("values", []):
        if not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", words):
            yield f"{where}: values: {value} missing, but in {TABLES}"


def compare_stat(where: str, got: Iterable[Sequence[str]], facts: Facts) -> Iterator[str]:
    said = {key: list(rest) for key, *rest in got}
    yield from compare(where, "keys", list(said), list(facts["stat"]))
    for key, (kind, unit) in facts["stat"].items():
        if key in said:
            yield from compare(f"{where}: {key}", "kind", said[key][0], kind)
            yield from compare(f"{where}: {key}", "unit", said[key][1], unit)


def guide_prctl(text: str, facts: Facts) -> Iterator[str]:
    where, fact = f"{GUIDE}: prctl", facts["prctl"]
    yield from compare(where, "calls", [term for term in terms(text) if term.startswith("PR_")],
                       fact["calls"])
    said = {name: int(value) for name, value in re.findall(r"\b(PR_\w+) is (\d+)", text)}
    yield from compare(where, "constants", said, fact["constants"])
    errors = [rows for rows in tables(text) if is_errors(rows)]
    yield from compare(where, "errors", errors[0] if errors else [], fact["errors"])


def guide_host(said: dict[str, str], facts: Facts) -> Iterator[str]:
    where, names = f"{GUIDE}: /sys/kernel/mm/ksm", set()
    for term, block in said.items():
        for name in term.split(", "):
            names.add(name)
            if name not in facts:
                yield f"{where}: {name} not in {TABLES}"
                continue
            default = first(r'default is "(\w+)"', " ".join(block.split()))
            if default or "values" in facts[name]:
                yield from compare(f"{where}/{name}", "default", default,
                                   facts[name].get("default"))
            values = tables(block)
            if values or "values" in facts[name]:
                yield from compare(f"{where}/{name}", "values", values[0] if values else [],
                                   facts[name].get("values", []))
    for name, fact in facts.items():
        if fact.get("new") and name not in names:
            yield f"{where}: {name} missing, but new in {TABLES}"


# What integration/ adds to the kernel's own files


def added(top: Path, file: str) -> str:
    """All lines that hooks add to a file."""
    text = ""
    for path in sorted(top.glob("integration/*.edit")):
        hook = path.read_text()
        if re.search(rf"^# File: {re.escape(file)}$", hook, re.M):
            text += "".join(line + "\n" for line in re.findall(r"^\+(.*)", hook, re.M))
    if not text:
        raise Missing(f"integration: no hook adds to {file}")
    return text


def seam(top: Path, facts: Facts) -> Iterator[str]:
    blocks = file_blocks(added(top, CGROUP_PAGE))
    yield from compare(f"{CGROUP_PAGE} by integration", "files of a cgroup", list(blocks),
                       list(facts["cgroup"]))
    for name, block in blocks.items():
        if name in facts["cgroup"]:
            yield from described_file(f"{CGROUP_PAGE} by integration: {name}", block,
                                      facts["cgroup"][name])
    yield from seam_host(added(top, ABI_PAGE), facts["host"])
    page_, where = added(top, PROC_PAGE), f"{PROC_PAGE} by integration"
    processes = terms(page_)
    yield from compare(f"{where}: ksm_stat", "keys", list(processes), facts["process"]["keys"])
    yield from compare(f"{where}: ksm_policy", "values",
                       re.findall(r'"(\w+)"', processes.get("ksm_policy", "")),
                       facts["process"]["policies"])
    letters = {f"{where}: VmFlags": first(r"(?m)^    (\w\w)    ", page_),
               "fs/proc/task_mmu.c by integration":
                   first(r'VM_NOMERGE\)\]\s*= "(\w+)"', added(top, "fs/proc/task_mmu.c")),
               GUIDE: first(r'"(\w+)" for a range with MADV_UNMERGEABLE',
                            " ".join((top / GUIDE).read_text().split()))}
    for place, letter in letters.items():
        yield from compare(place, "the letters of VM_NOMERGE", letter, facts["nomerge"]["letters"])
    header = "include/trace/events/mmflags.h"
    yield from compare(f"{header} by integration", "the name of VM_NOMERGE",
                       first(r'\{VM_NOMERGE, "(\w+)"\}', added(top, header)),
                       facts["nomerge"]["name"])


def seam_host(text: str, facts: Facts) -> Iterator[str]:
    where, new = f"{ABI_PAGE} by integration", [name for name in facts if facts[name].get("new")]
    yield from compare(where, "new files",
                       re.findall(r"^What:\s+/sys/kernel/mm/ksm/(\w+)$", text, re.M), new)
    said = dict(re.findall(r"^\t\t(\w+): ((?:.+\n)+)", text, re.M))
    yield from compare(where, "files that are described", list(said), new)
    for name in new:
        default = first(r"(\d) to [^,;.]*\(default\)", " ".join(said.get(name, "").split()))
        yield from compare(f"{where}: {name}", "default", default, facts[name].get("default"))


# The manual


@dataclass
class Part:
    """A section of a manual page: what it says, and its tagged paragraphs."""
    heading: str
    text: str = ""
    tags: dict[str, str] = field(default_factory=dict)


def plain(line: str) -> str:
    """A line of troff without its macro and escapes."""
    macro = re.match(r"\.([A-Z]+) (.*)", line)
    if macro:
        joint = "" if len(macro[1]) == 2 and macro[1] not in ("SH", "SS") else " "
        line = joint.join(shlex.split(macro[2].replace("\\", "\\\\").replace("'", "\\'")))
    return re.sub(r"\\f.|\\&", "", line).replace("\\-", "-")


def page(path: Path) -> list[Part]:
    text = path.read_text()
    other = re.search(r"^\.so man\d/(\S+)", text, re.M)
    if other:
        return page(path.with_name(other[1]))
    parts, tag, is_tag = [Part("")], "", False
    for line in text.splitlines():
        if line.startswith((".SH", ".SS")):
            parts.append(Part(plain(line)))
            tag = ""
        elif line == ".TP":
            is_tag = True
        elif is_tag:
            tag, is_tag = plain(line), False
            parts[-1].tags[tag] = ""
        elif line == ".PP":
            tag = ""
        elif not re.match(r"\.(\\\"|TH|br)", line):
            parts[-1].text += plain(line) + " "
            if tag:
                parts[-1].tags[tag] += plain(line) + " "
    return parts


def part(parts: Sequence[Part], *headings: str) -> Part:
    """The first of the headings that there is."""
    for heading in headings:
        for one in parts:
            if re.match(rf"{heading}(?![.\w])", one.heading):
                return one
    return Part(headings[0])


def manual(top: Path, facts: Facts) -> Iterator[str]:
    for name, fact in facts["cgroup"].items():
        path = top / MANUAL / f"{name}.5"
        where = f"{MANUAL}/{name}.5"
        if not path.is_file():
            yield f"{where} does not exist"
            continue
        parts = page(path)
        described = re.split(r",\s*", part(parts, "NAME").text.partition(" - ")[0].strip())
        if name not in described:
            yield f"{where}: its NAME section does not have {name}"
        yield from manual_file(where, part(parts, re.escape(name), "DESCRIPTION"), fact)
        errors = {error for other in described
                  for error in facts["cgroup"].get(other, {}).get("errors", [])}
        yield from compare(where, "errors", list(part(parts, "ERRORS").tags), sorted(errors))
    parts = page(top / MANUAL / "memory.ksm.stat.5")
    yield from compare_stat(f"{MANUAL}/memory.ksm.stat.5", [
        (tag, kind, first(r"^\((\w+)\)", said) or "") for kind in ("gauge", "event")
        for tag, said in part(parts, f"{kind.title()}s").tags.items()], facts)
    yield from manual_command(top, facts["cgroup"])


def manual_file(where: str, said: Part, fact: Facts) -> Iterator[str]:
    yield from compare(where, "access",
                       (first(r"^((?:Read|Write)-only)\.", said.text) or "read-write").lower(),
                       fact["access"])
    yield from compare(where, "the root has it", "The root has no such file" not in said.text,
                       fact["root"])
    yield from compare(where, "default", first(r"default is (\w+)", said.text),
                       fact.get("default"))
    yield from compare(where, "default of the root", first(r"root cgroup it is (\w+)", said.text),
                       fact.get("root_default"))
    yield from compare(where, "range", span(said.text), fact.get("range"))
    yield from compare(where, "a delegate's write",
                       "the cgroup is delegated may write" in said.text,
                       fact.get("delegated", False))
    if said.tags:
        yield from compare(where, "values", list(said.tags), fact.get("values", []))
    else:
        yield from mentioned(where, said.text, fact)


def manual_command(top: Path, facts: Facts) -> Iterator[str]:
    where = f"{MANUAL}/ksm-cgroup.1"
    parts = page(top / where)
    written = first(r"^Write ([\w, ]+) to memory\.ksm\b", part(parts, r"on \| off").text) or ""
    yield from compare(where, "values of memory.ksm", sorted(re.split(r", | or ", written)),
                       sorted(facts["memory.ksm"]["values"]))
    yield from compare(where, "range of the weight", span(part(parts, "weight").text),
                       facts["memory.ksm.weight"]["range"])
    yield from compare(where, "values of the domain",
                       part(parts, "domain").heading.replace("domain CGROUP ", "").split(" | "),
                       facts["memory.ksm.domain"]["values"])


# The sources


@dataclass
class Sources:
    """C files as one text without comments, their functions and kernel-doc."""
    text: str = ""
    functions: dict[str, str] = field(default_factory=dict)
    docs: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        raw = path.read_text()
        for doc in re.findall(r"^/\*\*\n(.*?)\*/", raw, re.M | re.S):
            name = re.match(r" \* (\w+)(?:\(\))? - ", doc)
            if name:
                self.docs[name[1]] = doc
        code_ = re.sub(r"/\*.*?\*/", "", raw, flags=re.S)
        self.text += code_ + "\n"
        self.functions.update(re.findall(
            r"^(?:\w[^\n;{}#]*\b)??(\w+)\([^;{}#]*\)\s*\n\{\n(.*?)^\}", code_, re.M | re.S))

    def function(self, name: str) -> str:
        if name not in self.functions:
            raise Missing(f"sources: no function {name}()")
        return self.functions[name]

    def constant(self, name: str) -> str:
        """The value of a number, a define or an enumerator."""
        while not re.fullmatch(r"\d+", name):
            if name in ("true", "false"):
                return str(int(name == "true"))
            found = re.search(rf"#define\s+{re.escape(name)}\s+(\w+)|"
                              rf"^\s*{re.escape(name)}\s*=\s*(\w+)", self.text, re.M)
            if not found:
                raise Missing(f"sources: no value of {name}")
            name = found[1] or found[2]
        return name


def sources_of(top: Path, *patterns: str) -> Sources:
    result = Sources()
    for pattern in patterns:
        for path in sorted(top.glob(pattern)):
            result.add(path)
    return result


CGROUP = ("kernel/cgroup/ksm*.[ch]",)
ALL = CGROUP + ("mm/ksm/**/*.[ch]", "include/linux/ksm*.h")


def sources(top: Path, facts: Facts) -> Iterator[str]:
    cgroup, every = sources_of(top, *CGROUP), sources_of(top, *ALL)
    checks = (source_files(cgroup, every, facts), source_stat(every, facts["stat"]),
              source_values(cgroup, every, facts["cgroup"]), source_host(every, facts["host"]),
              source_process(every, facts["process"]))
    for check in checks:
        try:
            yield from check
        except Missing as missing:
            yield str(missing)
    yield from source_prctl(top, facts["prctl"])
    yield from source_trace(top, facts["trace"])
    yield from source_tool(top, facts["stat"])


def source_files(cgroup: Sources, every: Sources, facts: Facts) -> Iterator[str]:
    """The array of cftypes: names, access, flags; and what writes answer."""
    where = "kernel/cgroup"
    arrays = re.findall(r"struct cftype \w+\[\] = \{\n(.*?)^\};", cgroup.text, re.M | re.S)
    entries = re.findall(r"\{([^{}]*\.name[^{}]*)\}", "".join(arrays))
    files = {"memory." + (first(r'\.name = "([^"]+)"', entry) or "?"): entry for entry in entries}
    yield from compare(where, "files of a cgroup", list(files), list(facts["cgroup"]))
    for name, entry in files.items():
        fact = facts["cgroup"].get(name)
        if not fact:
            continue
        read = re.search(r"\.(seq_show|read_\w+) = ", entry)
        write = first(r"\.write\w* = (\w+)", entry)
        access = "read-write" if read and write else "write-only" if write else "read-only"
        yield from compare(f"{where}: {name}", "access", access, fact["access"])
        yield from compare(f"{where}: {name}", "the root has it",
                           "CFTYPE_NOT_ON_ROOT" not in entry, fact["root"])
        yield from compare(f"{where}: {name}", "a delegate's write",
                           "CFTYPE_NS_DELEGATABLE" in entry, fact.get("delegated", False))
        yield from source_errors(f"{where}: {name}", write, cgroup, every, fact.get("errors", []))


def source_errors(where: str, handler: str | None, cgroup: Sources, every: Sources,
                  want: Sequence[str]) -> Iterator[str]:
    """All errors that the cgroup side names, or the kernel-doc of what it calls, are
    documented, and those that are documented are named there."""
    named, possible, seen = set(), set(), set()
    todo = [handler] if handler else []
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in cgroup.functions:
            body = cgroup.functions[name]
            named |= set(re.findall(r"-(E[A-Z]+)\b", body))
            todo += re.findall(r"\b[a-z]\w+\b", body)
            # mutex_lock_interruptible() and the like
            if re.search(r"\w_(?:interruptible|killable)\(", body):
                possible.add("EINTR")
        elif name in every.docs:
            returns = every.docs[name].partition("Return:")[2]
            named |= set(re.findall(r"-(E[A-Z]+)\b", returns))
    for error in sorted(named - set(want)):
        yield f"{where}: a write gives {error}, which is not in {TABLES}"
    for error in want:
        if error not in named | possible:
            yield f"{where}: nothing gives {error}, but it is in {TABLES}"


def source_stat(every: Sources, facts: Facts) -> Iterator[str]:
    body = every.function("memory_ksm_stat_show")
    yield from compare("memory_ksm_stat_show()", "keys", re.findall(r'"(\w+) %l', body),
                       list(facts))


def source_values(cgroup: Sources, every: Sources, facts: Facts) -> Iterator[str]:
    array = first(r"\w*setting_names\[\] = \{\n([^}]*)\}", every.text)
    if array is None:
        raise Missing("sources: no array of setting names")
    names = dict(re.findall(r'\[(KSM_\w+)\] = "(\w+)"', array))
    own = facts["memory.ksm"]
    yield from compare("setting names", "values of memory.ksm", sorted(names.values()),
                       sorted(own["values"]))
    default = re.search(r"parent \? (KSM_\w+) : (KSM_\w+)", every.text)
    if not default:
        raise Missing("sources: no 'parent ? … : …' with the defaults of memory.ksm")
    yield from compare("sources: memory.ksm", "default", names.get(default[1]), own["default"])
    yield from compare("sources: memory.ksm", "default of the root", names.get(default[2]),
                       own["root_default"])
    for name in ("memory.ksm.types", "memory.ksm.domain", "memory.ksm.scan"):
        for value in facts[name]["values"]:
            # what follows an @ is up to the writer
            if ("'@'" if value.startswith("@") else f'"{value}"') not in cgroup.text:
                yield f"kernel/cgroup: {name}: no value {value}, but in {TABLES}"
    weight = facts["memory.ksm.weight"]
    limits = " to ".join(every.constant(f"KSM_WEIGHT_{name}") for name in ("MIN", "MAX"))
    yield from compare("KSM_WEIGHT_MIN, _MAX", "range", limits, weight["range"])
    yield from compare("KSM_WEIGHT_DFL", "default", every.constant("KSM_WEIGHT_DFL"),
                       weight["default"])


def source_host(every: Sources, facts: Facts) -> Iterator[str]:
    """Attributes in sysfs: names, access, initial values."""
    where = "mm/ksm: /sys/kernel/mm/ksm"
    array = first(r"struct attribute \*\w+\[\] = \{\n([^}]*)\}", every.text)
    if array is None:
        raise Missing("sources: no array of attributes")
    names = re.findall(r"&(\w+)_attr\.attr", array)
    yield from compare(where, "files", sorted(names), sorted(facts))
    # Macros that define an attribute, by what they have in them.
    macros = dict(re.findall(r"#define (\w+)\(name, (?:[^\n]*\\\n)*?[^\n]*__ATTR_(R[OW])\(name\)",
                             every.text))
    modes = {name: mode for mode, name in re.findall(r"__ATTR_(R[OW])\((\w+)\)", every.text)}
    variables: dict[str, str | None] = {}
    for macro, name, variable in re.findall(r"^(\w+)\((\w+), ([\w.>-]+)", every.text, re.M):
        if macro in macros:
            modes[name], variables[name] = macros[macro], variable
    for name in names:
        fact = facts.get(name, {})
        if fact:
            access = {"RW": "read-write", "RO": "read-only"}.get(modes.get(name, ""))
            yield from compare(f"{where}/{name}", "access", access, fact["access"])
        if "default" in fact:
            variable = variables.get(name) or first(r"READ_ONCE\(([\w.>-]+)\)",
                                                    every.function(f"{name}_show"))
            yield from compare(f"{where}/{name}", "default", initial(every, variable),
                               fact["default"])


def initial(every: Sources, variable: str | None) -> str:
    """What a member of a static struct begins with."""
    base, unused, member = (variable or "?").partition(".")
    del unused
    found = re.search(rf"^(?:static )?struct \w+ {re.escape(base)}(?: \w+)? = \{{\n(.*?)^\}};",
                      every.text, re.M | re.S)
    if not found:
        raise Missing(f"sources: no initial value of {variable}")
    value = first(rf"\.{re.escape(member)} = (\w+)", found[1])
    return every.constant(value) if value else "0"


def source_process(every: Sources, facts: Facts) -> Iterator[str]:
    body = every.function("ksm_proc_stat_show")
    yield from compare("ksm_proc_stat_show()", "keys", re.findall(r'"(\w+):? %', body),
                       facts["keys"])
    for policy in facts["policies"]:
        if f'"{policy}"' not in every.text:
            yield f"ksm_proc_stat_show(): no ksm_policy {policy}, but in {TABLES}"


def source_prctl(top: Path, facts: Facts) -> Iterator[str]:
    found = {name: int(value) for path in sorted(top.glob("integration/*.edit"))
             for name, value in re.findall(r"^\+\s*#\s*define\s+(PR_\w+)\s+(\d+)",
                                           path.read_text(), re.M)}
    yield from compare("integration", "prctl constants", found, facts["constants"])


def source_trace(top: Path, facts: Facts) -> Iterator[str]:
    text = (top / EVENTS).read_text()
    pieces = re.split(r"^(TRACE_EVENT|DECLARE_EVENT_CLASS|DEFINE_EVENT)\((\w+),", text, flags=re.M)
    classes: dict[str, str] = {}
    events: dict[str, str] = {}
    for kind, name, body in zip(pieces[1::3], pieces[2::3], pieces[3::3]):
        if kind == "DEFINE_EVENT":
            events[first(r"^\s*(\w+)", body) or "?"] = classes.get(name, "")
        else:
            (events if kind == "TRACE_EVENT" else classes)[name] = body
    yield from compare(EVENTS, "events", sorted(events), sorted(facts["events"]))
    for name, body in events.items():
        yield from compare(f"{EVENTS}: {name}", "a field cgroup",
                           bool(re.search(r"__field\(u64, cgroup\)", body)),
                           name not in facts["global"])


def source_tool(top: Path, facts: Facts) -> Iterator[str]:
    text = "".join(path.read_text() for path in sorted(top.glob("tools/ksm-cgroup/*.c")))
    yield from compare("tools/ksm-cgroup", "keys of memory.ksm.stat",
                       re.findall(r'\[STAT_\w+\] = "(\w+)"', text), list(facts))


def holds(top: Path, facts: Facts) -> Iterator[str]:
    """What the engine decides for each pair of values is what is said and tested."""
    del facts
    try:
        rows = pairs.pairs(top)
    except pairs.PairsError as trouble:
        raise Missing(str(trouble)) from None
    if pairs.table(rows) not in (top / GUIDE).read_text():
        yield f"{GUIDE}: what holds for each pair of values: not as vm/pairs.py prints it"
    if pairs.header(rows) != (top / PAIRS).read_text():
        yield f"{PAIRS}: not as vm/pairs.py --header prints it"


def maintainers(top: Path, facts: Facts) -> Iterator[str]:
    del facts
    for path in re.findall(r"^F:\t(.*)", (top / "MAINTAINERS").read_text(), re.M):
        if not any(top.glob(MOVED.get(path, path).rstrip("/"))):
            yield f"MAINTAINERS: {path} does not exist"


CHECKS = (readme, guide, seam, manual, sources, holds, maintainers)


def differences(top: Path) -> list[str]:
    """A line for each difference between the tables and a document or source."""
    facts = tomllib.loads((top / TABLES).read_text())
    result: list[str] = []
    for check in CHECKS:
        try:
            result += check(top, facts)
        except (Missing, OSError) as trouble:
            result.append(str(trouble))
        except KeyError as key:
            result.append(f"{TABLES}: no {key}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("top", nargs="?", type=Path, default=TOP,
                        help="the repository, default: the one this program is in")
    lines = differences(parser.parse_args().top)
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
