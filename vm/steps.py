# SPDX-License-Identifier: GPL-2.0
"""Say what takes time, and how long it took; on stderr, as stdout is the command's."""
import sys
import time


class step:
    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.start = time.monotonic()
        print("==> " + self.what, file=sys.stderr, flush=True)

    def __exit__(self, kind, *unused):
        took = time.monotonic() - self.start
        if kind is None and took >= 1:
            print("    done: %s, %.0f s" % (self.what, took), file=sys.stderr, flush=True)
