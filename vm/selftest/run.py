#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Test what judges: the parsers of tests, their verdicts, the console's trouble, the
comparison of documents and sources, the floors, the benchmark's tables.

No VM is needed: the logs in recorded/ were taken in it, some of them shortened.
"""
from __future__ import annotations

import argparse
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent.parent / "bench"
sys.path[:0] = [str(HERE.parent), str(BENCH)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", action="append",
                        help="only tests whose names have this in them")
    arguments = parser.parse_args()
    loader = unittest.TestLoader()
    loader.testNamePatterns = arguments.pattern and [f"*{word}*" for word in arguments.pattern]
    suite = unittest.TestSuite(loader.discover(str(folder), top_level_dir=str(folder))
                               for folder in (HERE, BENCH))
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(f"{passed} passed, {failed} failed, {len(result.skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
