# SPDX-License-Identifier: GPL-2.0
"""The kernel's console: what in it is a report that something is wrong.

A warning, an oops or the report of a debugging facility is a finding of the
command during which it came. What a program does to itself is none: the kernel
mentions a fault that kills the program, in a line that has some of an oops's
words in it.
"""
from __future__ import annotations

import re
import time
from pathlib import Path

# What the kernel says when something is wrong with it. An OOM kill is not.
TROUBLE = re.compile(
    r"WARNING: |\bBUG: |[Kk]ernel BUG at |Oops: |Oops\b.*\[#|general protection fault|"
    r"Kernel panic|Unable to handle kernel|KASAN: |UBSAN: |"
    r"INFO: task .* blocked for more than|INFO: trying to register non-static key|"
    r"possible (circular|recursive) locking|suspicious RCU usage|"
    r"sleeping function called|rcu: INFO: .* (detected|self-detected) |"
    r"rcu_\w+ (detected|self-detected) stall|soft lockup|hard LOCKUP|refcount_t: |"
    r"(list_add|list_del) corruption|DEBUG_LOCKS_WARN_ON|Bad (page|rss-counter)|"
    r"bad: scheduling from|scheduling while atomic|unexpected reserved bit|double fault")
FATAL = re.compile(
    r"Kernel panic|Oops|[Kk]ernel BUG at |Unable to handle kernel|general protection")
# show_signal() and show_signal_msg() of arch/x86: a program's own fault. The
# name, 15 characters of anything, is the program's choice.
OWN_FAULT = re.compile(
    r"traps: .{0,15}\[\d+\] (general protection fault|trap [\w ]+)"
    r" ip:[0-9a-f]+ sp:[0-9a-f]+ error:|"
    r".{0,15}\[\d+\]: segfault at [0-9a-f]+ ip [0-9a-f]+ sp [0-9a-f]+ error ")
STAMP = re.compile(r"^(?:\[ *\d+\.\d+\](?:\[ *\w+\])? )?")
MARK = re.compile(r"vm: (begin|end) (\d+)$")
EXCERPT = 70            # lines


def is_trouble(line: str) -> bool:
    """Whether the kernel reports something wrong with itself in this line."""
    return bool(TROUBLE.search(line)) and not OWN_FAULT.match(line)


def is_fatal(line: str) -> bool:
    """Whether it is a report that the kernel does not survive."""
    return is_trouble(line) and bool(FATAL.search(line))


class Console:
    """The kernel's log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.partial = b""
        self.lines: list[str] = []
        self.reports: list[tuple[int, int | str]] = []  # index of the line, tag at that time
        self.tag: int | str = "boot"
        self.fatal: float | None = None     # time of a report that the kernel won't survive
        self.quiet_until = -1

    def poll(self) -> None:
        """Take in what the log has more."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read()
        except FileNotFoundError:
            return
        self.offset += len(data)
        *chunks, self.partial = (self.partial + data).split(b"\n")
        for chunk in chunks:
            self.take(chunk)

    def take(self, chunk: bytes) -> None:
        """One line; bytes, as what a program writes to the console may be anything."""
        line = STAMP.sub("", chunk.decode(errors="replace").rstrip("\r"))
        index = len(self.lines)
        self.lines.append(line)
        mark = MARK.match(line)
        if mark:
            self.tag = int(mark[2]) if mark[1] == "begin" else f"after {mark[2]}"
        elif is_trouble(line):
            if is_fatal(line) and not self.fatal:
                self.fatal = time.monotonic()
            if index > self.quiet_until:
                self.reports.append((index, self.tag))
                self.quiet_until = index + 4    # a report says so in several lines

    def excerpt(self, index: int) -> str:
        """The report that begins at this line."""
        end = index + 1
        while end < min(len(self.lines), index + EXCERPT):
            line = self.lines[end]
            end += 1
            if "---[ end trace" in line or MARK.match(line):
                break
        return "\n".join(self.lines[max(0, index - 2):end])

    def troubles(self, first: int = 0) -> list[tuple[str, str]]:
        """Line and excerpt of each report but the first few."""
        self.poll()
        return [(self.lines[index], self.excerpt(index))
                for index, _ in self.reports[first:]]

    def ended(self, number: int) -> bool:
        return f"vm: end {number}" in self.lines[-400:]
