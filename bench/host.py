# SPDX-License-Identifier: GPL-2.0
"""What the parts of the benchmark that run on the host have in common."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "vm"))
from common import BUILD, TOP, HintError, captured, note, say  # noqa: E402

__all__ = ["BENCH", "BUILD", "KERNELS", "OUT", "TOP", "TURNS", "BenchError", "captured",
           "compile_c", "in_turn", "note", "save", "say"]

BENCH = TOP / "bench"
OUT = BUILD / "bench"
KERNELS = ("stock", "ksm")
TURNS = 3


class BenchError(HintError):
    """A measurement that failed."""


def compile_c(name: str, output: Path | None = None, flags: Sequence[str] = (),
              more: Sequence[Path] = ()) -> Path:
    """Compile bench/NAME.c and more sources, by default to build/bench/NAME."""
    output = output or OUT / name
    command = ["gcc", "-O2", *flags, "-o", output, BENCH / f"{name}.c", *more]
    try:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError:
        raise BenchError("gcc is missing", "make deps") from None
    if status:
        raise BenchError(f"bench/{name}.c does not compile", "see the compiler's messages above")
    return output


def save(name: str, data: Any) -> None:
    """Write raw data to build/bench/NAME.json."""
    (OUT / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


def in_turn(what: str, measure: Callable[[str], Any], turns: int = TURNS) -> dict[str, list[Any]]:
    """Measure both kernels in alternation, to spread what disturbs the machine over both."""
    data: dict[str, list[Any]] = {kernel: [] for kernel in KERNELS}
    for turn in range(1, turns + 1):
        for kernel in KERNELS:
            say(f"{what} on the {kernel} kernel, {turn} of {turns}")
            data[kernel].append(measure(kernel))
    return data
