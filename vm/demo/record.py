#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: what node_exporter shows while containers are merged.

The containers of the demo are merged each by itself, then together; then keys
are changed in one and another is switched off. Meanwhile, every few seconds,
the command exports its figures and node_exporter is asked for them; its answers
go to OUTPUT, each sample with the time of the asking, as a Prometheus would
store them.
"""
from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import demo

EVERY = 5                       # seconds
ADDRESS = "127.0.0.1:9917"


class Exporter:
    """node_exporter with nothing but the textfile collector, and its client."""

    def __init__(self, tool: Path, output: TextIO, work: Path) -> None:
        self.tool, self.file = tool, work / "ksm.prom"
        self.output, self.over = output, threading.Event()
        self.server = subprocess.Popen(
            ["prometheus-node-exporter", "--collector.disable-defaults",
             "--collector.textfile", f"--collector.textfile.directory={work}",
             f"--web.listen-address={ADDRESS}"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.thread = threading.Thread(target=self.follow)
        self.thread.start()

    def ask(self) -> None:
        subprocess.run([self.tool, "export", "-o", self.file], check=True)
        with urllib.request.urlopen(f"http://{ADDRESS}/metrics") as answer:
            now, text = time.time(), answer.read().decode()
        for line in text.splitlines():
            if line.startswith("ksm_cgroup_"):
                self.output.write(f"{line} {now:.3f}\n")

    def follow(self) -> None:
        demo.wait_for("node_exporter", self.answers)
        while not self.over.wait(EVERY):
            self.ask()

    def answers(self) -> bool:
        try:
            self.ask()
            return True
        except OSError:
            return False

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.server.kill()
        self.server.wait()


def scenes(containers: list[demo.Container]) -> Iterator[tuple[str, int]]:
    """What an operator does; a pause after each."""
    top = demo.CGROUP / demo.TOP
    yield "as they are", 60
    for container in containers:
        demo.write(1, container.cgroup / "memory.ksm")
    yield "1 in each container", 120
    demo.write(1, top / "memory.ksm")
    for container in containers:
        demo.write("inherit", container.cgroup / "memory.ksm")
    yield "1 in their parent", 120
    containers[1].redis.pipeline([demo.command("SETRANGE", f"key:{number:06}", 100, "written")
                                  for number in demo.CHANGED])
    yield f"keys changed in {containers[1].name}", 60
    demo.write(0, containers[2].cgroup / "memory.ksm")
    yield f"0 in {containers[2].name}", 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=Path, help="the command ksm-cgroup")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="ksmrecord."))
    rootfs = demo.prepare(work, demo.TOP)
    demo.write(1000, demo.KSM / "pages_to_scan")
    demo.write(1, demo.KSM / "use_zero_pages")
    containers = [demo.Container(name, rootfs, work) for name in demo.NAMES]
    try:
        commands = demo.data_set()
        for container in containers:
            container.start()
            container.redis.pipeline(commands)
        with arguments.output.open("w") as output:
            exporter = Exporter(arguments.tool, output, work)
            for what, seconds in scenes(containers):
                demo.say(what)
                time.sleep(seconds)
            exporter.stop()
    finally:
        for container in containers:
            container.stop()


if __name__ == "__main__":
    main()
