#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run the tests of the command, in TAP.

usage: run.py [PATTERN]...

Each function test_* of the files test_*.py beside this one is a test; its
first line of text is its name. One that raises Skip is skipped.
"""
import fnmatch
import glob
import importlib
import os
import sys
import traceback


class Skip(Exception):
    pass


def collect(patterns):
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    for path in sorted(glob.glob(os.path.join(here, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, function in vars(module).items():
            label = "%s.%s" % (module.__name__[5:], name[5:])
            if name.startswith("test_") and callable(function) and (
                    not patterns or any(fnmatch.fnmatch(label, word) for word in patterns)):
                yield label, function


def main():
    tests = list(collect(sys.argv[1:]))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    print("TAP version 13\n1..%d" % len(tests))
    for number, (label, function) in enumerate(tests, 1):
        name = "%d %s: %s" % (number, label, (function.__doc__ or "").strip().split("\n")[0])
        try:
            function()
            counts["passed"] += 1
            print("ok " + name, flush=True)
        except Exception as error:
            if type(error).__name__ == "Skip":
                counts["skipped"] += 1
                print("ok %s # SKIP %s" % (name, error), flush=True)
                continue
            counts["failed"] += 1
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            print("not ok " + name, flush=True)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
