# SPDX-License-Identifier: GPL-2.0
"""The test machine: boot a kernel in QEMU, run commands in it, watch it.

A Machine boots Debian's root with one of our kernels and runs any number of
commands, one after the other. The console goes to a log file that is read as
it grows: what vm/console.py takes for trouble is a finding of the command
during which it came.
"""
from __future__ import annotations

import os
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import BUILD, LOG, TOP, HintError, put
from console import Console
from kernel import KERNELS

IMAGE = BUILD / "image.ext4"
PORTS = ("ctl", "out", "err")
# The time a kernel has after a report that it does not survive, to finish it.
LAST_WORDS = 30

Sink = Callable[[bytes], Any]


class VMError(HintError):
    """The machine did not come up, or went down by itself."""


def kernel_image(name: str) -> Path:
    bootable = sorted(name for name, kernel in KERNELS.items() if not kernel.um)
    if name not in bootable:
        raise VMError(f"no kernel '{name}'", f"it is one of {', '.join(bootable)}")
    # QEMU boots vmlinux by its PVH entry, which saves unpacking; but there
    # KASAN's shadow is not yet mapped for the instrumented code that runs.
    path = KERNELS[name].obj / ("arch/x86/boot/bzImage" if KERNELS[name].debug else "vmlinux")
    if not path.exists():
        raise VMError(f"no kernel at {path}",
                      "make kernel" if name == "ksm" else f"make {name}-kernel")
    return path


def megabytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([MG]?)", str(text))
    if not found:
        raise VMError(f"MEM={text} is no size", "want one such as 2G or 1536M")
    return int(found[1]) * (1024 if found[2] == "G" else 1)


# The emulator does "rep stosb" byte by byte. In a page that once held code, each
# byte takes the path on which translations are invalidated: 7 ms to clear a page,
# and the longer a machine ran, the more of its memory once held code. Without
# these two features Linux and glibc use wider moves.
TCG_CPU = "max,erms=off,fsrm=off"


def accelerator(vmlinux: Path) -> str:
    """kvm where a kernel really boots under it, else tcg; remembered."""
    remembered = BUILD / "accel"
    if os.environ.get("ACCEL"):
        return os.environ["ACCEL"]
    if remembered.exists():
        return remembered.read_text().strip()
    answer = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        # Without a root file system a kernel that works gets as far as a panic.
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512",
                   "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
                   "-kernel", str(vmlinux), "-append", "console=ttyS0 panic=-1"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=30,
                                  stdin=subprocess.DEVNULL, check=False)
            if b"Unable to mount root" in done.stdout:
                answer = "kvm"
        except (subprocess.TimeoutExpired, OSError):
            pass
    put(remembered, f"{answer}\n")
    return answer


@dataclass
class Outcome:
    """Of one command."""

    status: int | None = None   # exit status; None: the machine went away or time ran out
    timeout: bool = False
    # line, excerpt of the console for each report
    trouble: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """What a machine is made of and looks at."""

    mem: str = "2G"
    cpus: int = 2
    nodes: int = 1
    share: Path | str | None = None     # read-only in the machine
    out: Path | str | None = None       # read-write
    append: str = ""                    # to the kernel's command line
    log: Path | str | None = None       # of the console
    boot_timeout: int = 300
    interactive: bool = False
    count: bool = False                 # the time stamp counter counts instructions

    def __post_init__(self) -> None:
        for name, directory in (("SHARE", self.share), ("OUT", self.out)):
            if directory and not Path(directory).is_dir():
                raise VMError(f"{name}={directory}: no such directory", "make it first")
            if directory and "," in str(directory):
                raise VMError(f"{name}={directory}: QEMU takes no comma in a path",
                              "give another directory")


class Tail:
    """The output of a command: what came before the token that ends it."""

    def __init__(self, token: bytes, sink: Sink | None) -> None:
        self.token, self.sink = token, sink
        self.held = b""
        self.ended = False

    def take(self, data: bytes) -> None:
        self.held += data
        at = self.held.find(self.token)
        if at >= 0:
            ready, self.held, self.ended = self.held[:at], b"", True
        else:
            # Hold back only what may be the beginning of the token.
            keep = next((length for length in range(len(self.token) - 1, 0, -1)
                         if self.held.endswith(self.token[:length])), 0)
            cut = len(self.held) - keep
            ready, self.held = self.held[:cut], self.held[cut:]
        if ready and self.sink:
            self.sink(ready)

    def flush(self) -> None:
        """No token comes any more."""
        if self.held and self.sink:
            self.sink(self.held)
        self.held = b""


class Machine:
    """A booted kernel; the options are those of Settings."""

    def __init__(self, kernel: str = "ksm", **options: Any) -> None:
        self.vmlinux = kernel_image(kernel)
        self.settings = Settings(**options)
        if not IMAGE.exists():
            raise VMError("no disk image", "make image")
        if not shutil.which("qemu-system-x86_64"):
            raise VMError("qemu-system-x86_64 is missing", "make deps")
        self.mem, self.nodes = megabytes(self.settings.mem), int(self.settings.nodes)
        # A node is a socket: the scheduler warns of one that is split.
        self.cpus = -(-int(self.settings.cpus) // self.nodes) * self.nodes
        self.log = Path(self.settings.log or LOG / f"console-{kernel}.log")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.number = 0
        self.input = b""
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, socket.socket] = {}

    # -- life

    def __enter__(self) -> Machine:
        self.accel = "tcg" if self.settings.count else accelerator(self.vmlinux)
        self.directory = Path(tempfile.mkdtemp(prefix="ksmvm."))
        self.agent = self.directory / "agent"
        self.agent.mkdir()
        self.directory.chmod(0o755)
        shutil.copy(TOP / "vm" / "agent.sh", self.agent)
        self.log.unlink(missing_ok=True)
        self.console = Console(self.log)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        for port in self.ports.values():
            port.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kernel_words(self) -> str:
        words = ["root=/dev/vda", "rw", "console=ttyS0", "vm.agent", "panic=-1",
                 "printk.devkmsg=on", "systemd.show_status=false", "systemd.log_target=journal",
                 "systemd.unified_cgroup_hierarchy=1", "net.ifnames=0", "nokaslr"]
        if self.accel == "tcg":
            words += ["rcupdate.rcu_cpu_stall_timeout=180",
                      "sysctl.kernel.hung_task_timeout_secs=300"]
        return " ".join([*words, self.settings.append])

    def command_line(self) -> list[str]:
        tcg = self.accel == "tcg"
        accel = ["-accel", "tcg,thread=multi" if tcg else "kvm"]
        if self.settings.count:
            accel = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-machine", "pc", "-m", f"{self.mem}M",
            "-smp", f"{self.cpus},sockets={self.nodes}", *accel, "-cpu", TCG_CPU if tcg else "host",
            "-kernel", str(self.vmlinux), "-append", self.kernel_words(),
            "-chardev", f"file,id=console,path={self.log}", "-serial", "chardev:console",
            "-drive", f"file={IMAGE},if=none,id=root,format=raw,snapshot=on,cache=unsafe",
            "-device", "virtio-blk-pci,drive=root,addr=4",
            "-device", "virtio-rng-pci,addr=8", "-device", "virtio-serial-pci,addr=c"]
        command += self.numa_options()
        command += self.share_options()
        if self.settings.interactive:
            command += ["-chardev", "stdio,id=tty,signal=off", "-device", "virtconsole,chardev=tty"]
        for name in PORTS:
            command += ["-chardev",
                        f"socket,id={name},path={self.directory / name},server=on,wait=off",
                        "-device", f"virtserialport,chardev={name},name={name}"]
        return command

    def numa_options(self) -> Iterator[str]:
        if self.nodes == 1:
            return
        each, first = self.mem // self.nodes, 0
        for node in range(self.nodes):
            size = each if node else self.mem - each * (self.nodes - 1)
            last = self.cpus * (node + 1) // self.nodes - 1
            yield from ("-object", f"memory-backend-ram,id=m{node},size={size}M",
                        "-numa", f"node,nodeid={node},memdev=m{node},cpus={first}-{last}")
            first = last + 1

    def share_options(self) -> Iterator[str]:
        # Every fourth slot: all devices then hang on one interrupt link, and the
        # interpreter of ACPI's code, slow on a debug kernel, runs once.
        slots = iter(range(16, 32, 4))
        for tag, directory, flags in (("agent", self.agent, ",readonly=on"),
                                      ("share", self.settings.share, ",readonly=on"),
                                      ("out", self.settings.out, "")):
            if directory:
                yield from ("-fsdev", f"local,id={tag},path={Path(directory).absolute()},"
                                      f"security_model=none,multidevs=remap{flags}",
                            "-device",
                            f"virtio-9p-pci,fsdev={tag},mount_tag={tag},addr={next(slots):x}")

    def start(self) -> None:
        errors = self.directory / "qemu.log"
        quiet = None if self.settings.interactive else subprocess.DEVNULL
        with errors.open("wb") as stream:
            self.process = subprocess.Popen(
                self.command_line(), stderr=stream, env={**os.environ, "TMPDIR": str(BUILD)},
                stdin=quiet, stdout=quiet, start_new_session=not self.settings.interactive)
        begin = time.monotonic()
        for name in PORTS:
            self.ports[name] = self.connect(self.directory / name, errors, begin + 20)
        if self.answer(time.monotonic() + self.settings.boot_timeout) == "ready":
            return
        self.console.poll()
        said = errors.read_text().strip()
        if said and not self.console.lines:
            raise VMError("QEMU did not start", said)
        end = "\n".join(self.console.lines[-25:])
        raise VMError(f"the VM did not come up (after {time.monotonic() - begin:.0f} s)",
                      f"see its console ({self.log}), which ends\n{end}")

    def connect(self, path: Path, errors: Path, deadline: float) -> socket.socket:
        """QEMU makes its sockets when it has started."""
        while True:
            port = socket.socket(socket.AF_UNIX)
            try:
                port.connect(str(path))
                return port
            except OSError:
                port.close()
                assert self.process
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise VMError("QEMU did not start", errors.read_text().strip()) from None
                time.sleep(0.05)

    # -- talking

    def dying(self) -> bool:
        """Whether the kernel has had the time for its last words."""
        fatal = self.console.fatal
        return fatal is not None and time.monotonic() > fatal + LAST_WORDS

    def answer(self, deadline: float) -> str | None:
        """A line from the agent; None when time is up or the VM is gone."""
        while b"\n" not in self.input:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.ports["ctl"].settimeout(min(left, 1))
            try:
                data = self.ports["ctl"].recv(4096)
            except socket.timeout:
                self.console.poll()
                if self.dying():
                    return None
                continue
            except OSError:
                data = b""
            if not data:
                return None
            self.input += data
        line, self.input = self.input.split(b"\n", 1)
        return line.decode()

    def run(self, script: str, timeout: int = 600, stdout: Sink | None = None,
            stderr: Sink | None = None) -> Outcome:
        """Run a bash script as root; stdout and stderr are called with bytes."""
        self.number += 1
        token = secrets.token_hex(12).encode()
        (self.agent / f"command.{self.number}").write_text(f"{script}\n")
        outcome, first = Outcome(), len(self.console.reports)
        deadline = time.monotonic() + timeout + 20
        self.ports["ctl"].settimeout(10)
        try:
            self.ports["ctl"].sendall(b"%d %d %s\n" % (self.number, timeout, token))
        except OSError:
            outcome.trouble = self.troubles(first)
            return outcome
        tails = {"out": Tail(token, stdout), "err": Tail(token, stderr)}
        outcome.timeout = not self.follow(tails, deadline)
        for tail in tails.values():
            tail.flush()
        line = None
        if all(tail.ended for tail in tails.values()):
            line = self.answer(time.monotonic() + 15)
        if line and line.startswith(f"done {self.number} "):
            outcome.status = int(line.split()[2])
            outcome.timeout = outcome.status in (124, 137) and time.monotonic() > deadline - 20
        # The console is slower than the ports: wait for its end mark.
        until = time.monotonic() + (10 if outcome.status is not None else 2)
        while not self.console.ended(self.number) and time.monotonic() < until:
            self.console.poll()
            time.sleep(0.02)
        outcome.trouble = self.troubles(first)
        return outcome

    def follow(self, tails: dict[str, Tail], deadline: float) -> bool:
        """Pass output on until all of it is there or the VM is gone; False: time is up."""
        with selectors.DefaultSelector() as selector:
            for name in tails:
                self.ports[name].setblocking(False)
                selector.register(self.ports[name], selectors.EVENT_READ, name)
            while selector.get_map():
                now = time.monotonic()
                if now > deadline:
                    return False
                if self.dying():
                    return True
                for key, _ in selector.select(min(1, deadline - now)):
                    try:
                        data = self.ports[key.data].recv(65536)
                    except OSError:
                        data = b""
                    if not data:
                        return True
                    tails[key.data].take(data)
                    if tails[key.data].ended:
                        selector.unregister(key.fileobj)
                self.console.poll()
        return True

    def troubles(self, first: int = 0) -> list[tuple[str, str]]:
        return self.console.troubles(first)

    @property
    def alive(self) -> bool:
        assert self.process
        return self.process.poll() is None and not self.console.fatal
