#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Test what judges the tests: the parsers, the verdicts, the console's trouble.

No VM is needed: the logs in recorded/ were taken in it, and shortened.
"""
from __future__ import annotations

import argparse
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", action="append",
                        help="only tests whose names have this in them")
    arguments = parser.parse_args()
    loader = unittest.TestLoader()
    loader.testNamePatterns = arguments.pattern and [f"*{word}*" for word in arguments.pattern]
    result = unittest.TextTestRunner(verbosity=0).run(loader.discover(str(HERE)))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(f"{passed} passed, {failed} failed, {len(result.skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
