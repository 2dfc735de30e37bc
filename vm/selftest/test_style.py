# SPDX-License-Identifier: GPL-2.0
"""What the style check passes over, and what it does not."""
from __future__ import annotations

import unittest

import style


def imbalance(name: str) -> str:
    return f"mm/ksm/x.c:1:1: warning: context imbalance in '{name}' - unexpected unlock"


class Followed(unittest.TestCase):
    def setUp(self) -> None:
        self.known = [imbalance(name) for name in sorted(style.UNFOLLOWED)]

    def test_known(self) -> None:
        self.assertEqual(style.followed(self.known), [])

    def test_another_lock(self) -> None:
        line = imbalance("ksm_page_put")
        self.assertEqual(style.followed([*self.known, line]), [line])

    def test_another_finding(self) -> None:
        line = "mm/ksm/merge.c:1:1: warning: symbol 'ksm_replace' was not declared"
        self.assertEqual(style.followed([*self.known, line]), [line])

    def test_balanced_by_now(self) -> None:
        found = style.followed(self.known[1:])
        self.assertEqual(len(found), 1)
        self.assertIn(sorted(style.UNFOLLOWED)[0], found[0])


if __name__ == "__main__":
    unittest.main()
