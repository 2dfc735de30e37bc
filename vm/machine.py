# SPDX-License-Identifier: GPL-2.0
"""The test machine: boot a kernel in QEMU, run commands in it, watch it.

A Machine boots Debian's root with one of our kernels and runs any number of
commands, one after the other. The console goes to a log file that is read as
it grows: a warning, oops or report of a debugging facility there is a finding
of the command during which it came.
"""
import os
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
IMAGE = os.path.join(BUILD, "image.ext4")
OBJ = {"ksm": "ksm", "debug": "ksm-debug", "stock": "stock", "stock-debug": "stock-debug"}

# What the kernel says when something is wrong with it. An OOM kill is not.
TROUBLE = re.compile(
    r"WARNING: |\bBUG: |kernel BUG at |Oops: |Oops\b.*\[#|general protection fault|"
    r"Kernel panic|Unable to handle kernel|KASAN: |UBSAN: |"
    r"INFO: task .* blocked for more than|INFO: trying to register non-static key|"
    r"possible (circular|recursive) locking|suspicious RCU usage|"
    r"sleeping function called|rcu: INFO: .* (detected|self-detected) |"
    r"rcu_\w+ (detected|self-detected) stall|soft lockup|hard LOCKUP|refcount_t: |"
    r"(list_add|list_del) corruption|DEBUG_LOCKS_WARN_ON|Bad (page|rss-counter)|"
    r"bad: scheduling from|scheduling while atomic|unexpected reserved bit|double fault")
FATAL = re.compile(r"Kernel panic|Oops|kernel BUG at |Unable to handle kernel|general protection")
STAMP = re.compile(r"^(?:\[ *\d+\.\d+\](?:\[ *\w+\])? )?")
EXCERPT = 70            # lines


class VMError(Exception):
    """The machine did not come up, or went down by itself."""


def kernel_image(kernel):
    if kernel not in OBJ:
        raise VMError("no kernel '%s': it is one of %s" % (kernel, ", ".join(sorted(OBJ))))
    # QEMU boots vmlinux by its PVH entry, which saves unpacking; but there
    # KASAN's shadow is not yet mapped for the instrumented code that runs.
    path = os.path.join(BUILD, "obj", OBJ[kernel],
                        "arch/x86/boot/bzImage" if "debug" in kernel else "vmlinux")
    if not os.path.exists(path):
        raise VMError("no kernel at %s: make %skernel" %
                      (path, {"ksm": "", "stock": "stock-"}.get(kernel, "debug-")))
    return path


def megabytes(text):
    found = re.fullmatch(r"(\d+)([MG]?)", str(text))
    if not found:
        raise VMError("MEM=%s: want a size such as 2G or 1536M" % text)
    return int(found[1]) * (1024 if found[2] == "G" else 1)


def accelerator(vmlinux):
    """kvm where a kernel really boots under it, else tcg; remembered."""
    note = os.path.join(BUILD, "accel")
    if os.environ.get("ACCEL"):
        return os.environ["ACCEL"]
    if os.path.exists(note):
        with open(note) as stream:
            return stream.read().strip()
    answer = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        # Without a root file system a kernel that works gets as far as a panic.
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512",
                   "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
                   "-kernel", vmlinux, "-append", "console=ttyS0 panic=-1"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=30,
                                  stdin=subprocess.DEVNULL, check=False)
            if b"Unable to mount root" in done.stdout:
                answer = "kvm"
        except (subprocess.TimeoutExpired, OSError):
            pass
    with open(note + ".tmp", "w") as stream:
        stream.write(answer + "\n")
    os.rename(note + ".tmp", note)
    return answer


class Console:
    """The kernel's log, read as it grows."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.partial = b""
        self.lines = []
        self.reports = []       # (index of line, tag at that time)
        self.tag = "boot"
        self.fatal = None       # time of a report that the kernel won't survive
        self.quiet_until = -1

    def poll(self):
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self.offset)
                data = stream.read()
        except FileNotFoundError:
            return
        self.offset += len(data)
        chunks = (self.partial + data).split(b"\n")
        self.partial = chunks.pop()
        for chunk in chunks:
            line = STAMP.sub("", chunk.decode(errors="replace").rstrip("\r"))
            index = len(self.lines)
            self.lines.append(line)
            mark = re.match(r"vm: (begin|end) (\d+)$", line)
            if mark:
                self.tag = int(mark[2]) if mark[1] == "begin" else "after %s" % mark[2]
            elif TROUBLE.search(line):
                if FATAL.search(line) and not self.fatal:
                    self.fatal = time.monotonic()
                if index > self.quiet_until:
                    self.reports.append((index, self.tag))
                    self.quiet_until = index + 3    # a report says so in several lines

    def excerpt(self, index):
        end = index + 1
        while end < min(len(self.lines), index + EXCERPT):
            line = self.lines[end]
            end += 1
            if "---[ end trace" in line or re.match(r"vm: (begin|end) ", line):
                break
        return "\n".join(self.lines[max(0, index - 2):end])

    def ended(self, number):
        return any(line == "vm: end %d" % number for line in self.lines[-400:])


class Result:
    def __init__(self):
        self.status = None      # exit status; None: the machine went away or time ran out
        self.timeout = False
        self.trouble = []       # (line, excerpt of the console) for each report


class Machine:
    def __init__(self, kernel="ksm", mem="2G", cpus=2, nodes=1, share=None, out=None,
                 append="", log=None, boot_timeout=300, interactive=False, count=False):
        self.vmlinux = kernel_image(kernel)
        if not os.path.exists(IMAGE):
            raise VMError("no disk image: make image")
        if not shutil.which("qemu-system-x86_64"):
            raise VMError("qemu-system-x86_64 is missing: make deps")
        self.mem, self.cpus, self.nodes = megabytes(mem), int(cpus), int(nodes)
        # A node is a socket: the scheduler warns of one that is split.
        self.cpus = -(-self.cpus // self.nodes) * self.nodes
        for name, directory in (("SHARE", share), ("OUT", out)):
            if directory and not os.path.isdir(directory):
                raise VMError("%s=%s: no such directory" % (name, directory))
            if directory and "," in directory:
                raise VMError("%s=%s: QEMU takes no comma in a path" % (name, directory))
        self.share, self.out = share, out
        self.append = append
        self.log = log or os.path.join(BUILD, "log", "console-%s.log" % kernel)
        os.makedirs(os.path.dirname(self.log), exist_ok=True)
        self.boot_timeout = boot_timeout
        self.interactive = interactive
        self.count = count      # the time stamp counter counts instructions
        self.number = 0
        self.input = b""
        self.process = None
        self.ports = {}

    # -- life

    def __enter__(self):
        self.accel = "tcg" if self.count else accelerator(self.vmlinux)
        self.directory = tempfile.mkdtemp(prefix="ksmvm.")
        self.agent = os.path.join(self.directory, "agent")
        os.mkdir(self.agent)
        os.chmod(self.directory, 0o755)
        shutil.copy(os.path.join(TOP, "vm", "agent.sh"), self.agent)
        if os.path.exists(self.log):
            os.unlink(self.log)
        self.console = Console(self.log)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused):
        for port in self.ports.values():
            port.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command_line(self):
        tcg = self.accel == "tcg"
        append = ["root=/dev/vda", "rw", "console=ttyS0", "vm.agent", "panic=-1",
                  "printk.devkmsg=on", "systemd.show_status=false", "systemd.log_target=journal",
                  "systemd.unified_cgroup_hierarchy=1", "net.ifnames=0", "nokaslr"]
        if tcg:
            append += ["rcupdate.rcu_cpu_stall_timeout=180",
                       "sysctl.kernel.hung_task_timeout_secs=300"]
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                   "-no-reboot", "-machine", "pc", "-m", "%dM" % self.mem,
                   "-smp", "%d,sockets=%d" % (self.cpus, self.nodes),
                   *(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
                     if self.count else ["-accel", "tcg,thread=multi" if tcg else "kvm"]),
                   "-cpu", "max" if tcg else "host",
                   "-kernel", self.vmlinux,
                   "-append", " ".join(append + [self.append]),
                   "-chardev", "file,id=console,path=" + self.log, "-serial", "chardev:console",
                   "-drive", "file=%s,if=none,id=root,format=raw,snapshot=on,cache=unsafe" % IMAGE,
                   "-device", "virtio-blk-pci,drive=root,addr=4",
                   "-device", "virtio-rng-pci,addr=8", "-device", "virtio-serial-pci,addr=c"]
        # Every fourth slot: all devices then hang on one interrupt link, and the
        # interpreter of ACPI's code, slow on a debug kernel, runs once.
        slots = iter(range(16, 32, 4))
        each, first = self.mem // self.nodes, 0
        for node in range(self.nodes if self.nodes > 1 else 0):
            size = each if node else self.mem - each * (self.nodes - 1)
            last = self.cpus * (node + 1) // self.nodes - 1
            command += ["-object", "memory-backend-ram,id=m%d,size=%dM" % (node, size),
                        "-numa", "node,nodeid=%d,memdev=m%d,cpus=%d-%d" % (node, node, first, last)]
            first = last + 1
        for tag, directory, flags in (("agent", self.agent, ",readonly=on"),
                                      ("share", self.share, ",readonly=on"),
                                      ("out", self.out, "")):
            if directory:
                command += ["-fsdev", "local,id=%s,path=%s,security_model=none,multidevs=remap%s"
                            % (tag, os.path.abspath(directory), flags),
                            "-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s,addr=%x"
                            % (tag, tag, next(slots))]
        if self.interactive:
            command += ["-chardev", "stdio,id=tty,signal=off", "-device", "virtconsole,chardev=tty"]
        for name in ("ctl", "out", "err"):
            command += ["-chardev", "socket,id=%s,path=%s,server=on,wait=off"
                        % (name, os.path.join(self.directory, name)),
                        "-device", "virtserialport,chardev=%s,name=%s" % (name, name)]
        return command

    def start(self):
        errors = os.path.join(self.directory, "qemu.log")
        with open(errors, "wb") as stream:
            self.process = subprocess.Popen(
                self.command_line(), stderr=stream, env=dict(os.environ, TMPDIR=BUILD),
                stdin=None if self.interactive else subprocess.DEVNULL,
                stdout=None if self.interactive else subprocess.DEVNULL,
                start_new_session=not self.interactive)
        begin = time.monotonic()
        deadline = begin + 20
        for name in ("ctl", "out", "err"):
            while True:
                try:
                    port = socket.socket(socket.AF_UNIX)
                    port.connect(os.path.join(self.directory, name))
                    break
                except OSError:
                    port.close()
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        with open(errors) as stream:
                            raise VMError("QEMU did not start: " + stream.read().strip()) from None
                    time.sleep(0.05)
            self.ports[name] = port
        line = self.answer(time.monotonic() + self.boot_timeout)
        if line != "ready":
            self.console.poll()
            with open(errors) as stream:
                text = stream.read().strip()
            if text and not self.console.lines:
                raise VMError("QEMU did not start: " + text)
            raise VMError("the VM did not come up (after %d s); the end of its console (%s):\n%s" % (
                time.monotonic() - begin, self.log, "\n".join(self.console.lines[-25:])))

    # -- talking

    def answer(self, deadline):
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
                if self.console.fatal and time.monotonic() > self.console.fatal + 30:
                    return None
                continue
            except OSError:
                data = b""
            if not data:
                return None
            self.input += data
        line, self.input = self.input.split(b"\n", 1)
        return line.decode()

    def run(self, script, timeout=600, stdout=None, stderr=None):
        """Run a bash script as root; stdout and stderr are called with bytes."""
        self.number += 1
        token = secrets.token_hex(12).encode()
        with open(os.path.join(self.agent, "command.%d" % self.number), "w") as stream:
            stream.write(script + "\n")
        result, first = Result(), len(self.console.reports)
        sinks = {"out": stdout, "err": stderr}
        held = {"out": b"", "err": b""}
        selector = selectors.DefaultSelector()
        for name in sinks:
            self.ports[name].setblocking(False)
            selector.register(self.ports[name], selectors.EVENT_READ, name)
        deadline = time.monotonic() + timeout + 20
        self.ports["ctl"].settimeout(10)
        try:
            self.ports["ctl"].sendall(b"%d %d %s\n" % (self.number, timeout, token))
        except OSError:
            result.trouble = self.troubles(first)
            return result
        waiting = set(sinks)
        while waiting:
            now = time.monotonic()
            if now > deadline or (self.console.fatal and now > self.console.fatal + 30):
                result.timeout = now > deadline
                break
            for key, unused in selector.select(min(1, deadline - now)):
                name = key.data
                try:
                    data = key.fileobj.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    waiting.clear()
                    break
                held[name] += data
                at = held[name].find(token)
                keep = len(token) - 1
                if at >= 0:
                    ready, held[name] = held[name][:at], held[name][at + len(token):]
                    waiting.discard(name)
                    selector.unregister(key.fileobj)
                else:
                    ready, held[name] = held[name][:-keep], held[name][-keep:]
                    # Hold back only what may be the beginning of the token.
                    for length in range(keep, 0, -1):
                        if held[name].endswith(token[:length]):
                            break
                    else:
                        length = 0
                    cut = len(held[name]) - length
                    ready, held[name] = ready + held[name][:cut], held[name][cut:]
                if ready and sinks[name]:
                    sinks[name](ready)
            self.console.poll()
        selector.close()
        for name in waiting:
            if held[name] and sinks[name]:
                sinks[name](held[name])
        line = self.answer(time.monotonic() + 15) if not waiting else None
        if line and line.startswith("done %d " % self.number):
            result.status = int(line.split()[2])
            result.timeout = result.status in (124, 137) and time.monotonic() > deadline - 20
        # The console is slower than the ports: wait for its end mark.
        until = time.monotonic() + (10 if result.status is not None else 2)
        while not self.console.ended(self.number) and time.monotonic() < until:
            self.console.poll()
            time.sleep(0.02)
        result.trouble = self.troubles(first)
        return result

    def troubles(self, first=0):
        self.console.poll()
        return [(self.console.lines[index], self.console.excerpt(index))
                for index, unused in self.console.reports[first:]]

    @property
    def alive(self):
        return self.process.poll() is None and not self.console.fatal
