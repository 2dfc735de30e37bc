# SPDX-License-Identifier: GPL-2.0
"""on, off, madvise, inherit, weight, domain, types, scan, and what a CGROUP can be."""
import errno
import os
import shutil
import stat
import subprocess

from recorded import TOOL, Tree, has, lacks, on_terminal, same
from run import Skip

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def host(**more):
    cgroups = {"/": {}, "/box": {"pids": [100]}, "/box/in": {},
               "/system.slice": {}, "/system.slice/web.service": {},
               "/system.slice/web.service/worker": {},
               "/user.slice": {}, "/user.slice/web.service": {},
               "/system.slice/db.service": {},
               "/system.slice/db.service/db.service": {},
               "/machine.slice/libpod-%s.scope" % ID: {},
               "/machine.slice/libpod-%s.scope/container" % ID: {},
               "/machine.slice/libpod-conmon-%s.scope" % ID: {},
               "/system.slice/docker-%s.scope" % OTHER: {}, "/1000": {}}
    return Tree(cgroups, {100: {"cgroup": "/box"}}, **more)


def runtime(tree, name, answers):
    """A program that answers as a container runtime's inspect does, in two writes."""
    folder = tree.path("bin")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path, "w") as stream:
        stream.write("#!/bin/sh\nfor name; do :; done\ncase $name in\n%s*) exit 125;;\nesac\n" %
                     "".join("%s) printf %s; sleep 0.1; echo;;\n" % item for item in answers.items()))
    os.chmod(path, stat.S_IRWXU)
    return {"PATH": folder + ":/usr/bin:/bin"}


def own(tree, path):
    return tree.read("sys/fs/cgroup%s/memory.ksm" % path)


def test_values():
    """on, off, madvise and inherit write their value to each cgroup named"""
    with host() as tree:
        for command, value in (("on", "1"), ("off", "0"), ("madvise", "madvise"),
                               ("inherit", "inherit")):
            status, out, unused = tree.run(command, "/box", "/box/in")
            same((status, out), (0, ""))
            same([own(tree, "/box"), own(tree, "/box/in")], [value] * 2)


def test_tells_which():
    """a PID stands for its whole cgroup, so it is told which that is"""
    with host() as tree:
        has(tree.run("on", "100")[1], "100: memory.ksm of /box is 1 now")
        same(tree.run("on", "box")[1], "")


def test_one_fails():
    """one that fails does not stop the others, and the status is 1"""
    with host() as tree:
        status, unused, error = tree.run("on", "/nope", "/box")
        same((status, own(tree, "/box")), (1, "1"))
        has(error, "/sys/fs/cgroup/nope: No such file", "check the name")


def test_no_file():
    """a cgroup without the file: the message names it and the way to the reason"""
    with Tree({"/": {}, "/x": {"no_memory": True}}) as tree:
        status, unused, error = tree.run("on", "/x")
        same(status, 1)
        has(error, "/sys/fs/cgroup/x/memory.ksm: No such file", "doctor")


def test_not_writable():
    """errors that only a kernel gives have advice of their own"""
    with host() as tree:
        path = tree.path("sys/fs/cgroup/box/memory.ksm")
        os.unlink(path)
        os.symlink("/proc/sys/kernel/ostype", path)
        status, unused, error = tree.run("on", "/box")
        same(status, 1)
        has(error, "memory.ksm: Permission denied: it belongs to whoever made the cgroup")


def inject(tree, call, error, *arguments):
    status, unused, error = injected(tree, call, error, *arguments)
    return status, error


def injected(tree, call, error, *arguments):
    """The tool, with a system call on the cgroup's file failing as a kernel's would."""
    if not shutil.which("strace"):
        raise Skip("no strace")
    name = "memory.ksm" + {"scan": ".scan", "domain": ".domain"}.get(arguments[0], "")
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-P", "sys/fs/cgroup/box/" + name,
         "-P", tree.path("sys/fs/cgroup/box/" + name),
         "-e", "inject=%s:error=%s" % (call, error), TOOL] + list(arguments),
        capture_output=True, text=True, check=False,
        # Looking for leaks takes a debugger's place.
        env=dict(os.environ, KSM_CGROUP_ROOT=tree.root, ASAN_OPTIONS="detect_leaks=0"))
    return done.returncode, done.stdout, done.stderr


def test_errors():
    """each errno of memory.ksm has its advice; what is unknown its meaning"""
    for call, error, advice in (("write", "EINVAL", "does not take this value"),
                                ("write", "ENOMEM", "nothing was changed: memory was too short"),
                                ("write", "EBUSY", "nothing was changed: try again"),
                                ("write", "EINTR", "interrupted before anything was changed"),
                                ("write", "ENODEV", "the cgroup was removed"),
                                ("openat", "EROFS", "mounted read-only"),
                                ("openat", "EPERM", "whoever made the cgroup"),
                                ("write", "EIO", "Input/output error")):
        with host() as tree:
            status, text = inject(tree, call, error, "off", "/box")
            same((error, status), (error, 1))
            has(text, "/sys/fs/cgroup/box/memory.ksm: " + os.strerror(getattr(errno, error)), advice)


def preset(tree, value):
    with open(tree.path("sys/fs/cgroup/box/memory.ksm"), "w", encoding="ascii") as file:
        file.write(value + "\n")


def test_undone():
    """after ENOMEM, EBUSY and EINTR the file tells which value is in force, and so does the tool"""
    for call, error, undone in (("write", "ENOMEM", True), ("write", "EBUSY", True),
                                ("write", "EINTR", True),
                                ("write", "ENODEV", False), ("openat", "EACCES", False)):
        for published in (True, False):
            holds = undone and published
            with host() as tree:
                preset(tree, "0" if published else "1")
                status, out, text = injected(tree, call, error, "off", "100")
                same((error, status, "memory.ksm of /box is 0 now" in out), (error, 1, holds))
                same((error, "but the new value is in force" in text or
                      "the new value is in force, but" in text), (error, holds))
                same((error, "pages_pending" in text), (error, holds))
                same((error, "changed" in text), (error, undone and not published))
            with host(run=2) as tree:
                preset(tree, "1" if published else "inherit")
                unused, out, text = injected(tree, call, error, "on", "100")
                same((error, "memory.ksm of /box is 1 now" in out), (error, holds))
                same((error, "nothing is merged yet" in text), (error, holds))


def test_scan_advice():
    """each errno of memory.ksm.scan has its advice"""
    for call, error, advice in (("write", "EINTR", "what was scanned until then is kept"),
                                ("write", "ENODEV", "the cgroup was removed"),
                                ("write", "EINVAL", "does not take this size"),
                                ("openat", "EACCES", "to whom the cgroup is delegated")):
        with host() as tree:
            status, text = inject(tree, call, error, "scan", "/box")
            same((error, status), (error, 1))
            has(text, "memory.ksm.scan: " + os.strerror(getattr(errno, error)), advice)


def test_warns():
    """on says so if nothing will be merged: the scanner is stopped, a 0 above"""
    with host(run=2) as tree:
        status, unused, error = tree.run("on", "/box")
        same(status, 0)
        has(error, "nothing is merged yet", "run is 2", "echo 0 >")
        lacks(tree.run("off", "/box")[2], "run is 2")
    with Tree({"/": {}, "/box": {"ksm": "1"}}, run_cgroups=0) as tree:
        has(tree.run("on", "/box")[2], "nothing is merged yet", "run_cgroups is 0")
    with Tree({"/": {}, "/box": {"ksm": "1"}}) as tree:
        lacks(tree.run("on", "/box")[2], "nothing is merged yet")
    with Tree({"/": {}, "/p": {"ksm": "0"}, "/p/c": {"ksm": "inherit"}}) as tree:
        has(tree.run("on", "/p/c")[2], "memory.ksm of /p is 0", "ksm-cgroup inherit /p")
    # The recorded value in force stays as it is: that of a write that was not granted.
    with Tree({"/": {}, "/p": {}}) as tree:
        has(tree.run("on", "/p")[2], "nothing is merged yet: not granted: memory.ksm of /p is 1",
            "as root of the host: ksm-cgroup on /p")
        lacks(tree.run("madvise", "/p")[2], "not granted")


def test_weight():
    """weight takes 1 to 10000"""
    with host() as tree:
        same(tree.run("weight", "/box", "250")[0], 0)
        same(tree.read("sys/fs/cgroup/box/memory.ksm.weight"), "250")
        for bad in ("0", "10001", "x", "", "5x"):
            status, unused, error = tree.run("weight", "/box", bad)
            same(status, 2)
            has(error, "from 1 to 10000")
        same(tree.run("weight", "/box")[0], 2)


def test_types():
    """types takes words with + and -, or inherit alone"""
    with Tree({"/": {}, "/box": {}}) as tree:
        same(tree.run("types", "/box", "-anon", "+zero")[0], 0)
        same(tree.read("sys/fs/cgroup/box/memory.ksm.types"), "-anon +zero")
        same(tree.run("types", "/box", "inherit")[0], 0)
        same(tree.read("sys/fs/cgroup/box/memory.ksm.types"), "inherit")
        for words in (["anon"], ["+all"], ["inherit", "+zero"], ["+"], []):
            same(tree.run("types", "/box", *words)[0], 2)
        same(tree.read("sys/fs/cgroup/box/memory.ksm.types"), "inherit")


def test_domain():
    """domain takes self, parent and names"""
    with host() as tree:
        for text in ("parent", "self", "@a", "@kube-system", "@A.b_c-9", "@" + 63 * "x"):
            same((text, tree.run("domain", "/box", text)), (text, (0, "", "")))
            same(tree.read("sys/fs/cgroup/box/memory.ksm.domain"), text)
        for text in ("child", "", "@", "@a b", "@a/b", "@caf\u00e9", "shop", "@" + 64 * "x", "parent "):
            status, unused, error = tree.run("domain", "/box", text)
            same((text, status), (text, 2))
            has(error, "self, parent or @NAME, of")
        same(tree.read("sys/fs/cgroup/box/memory.ksm.domain"), "@" + 63 * "x")
        same(tree.run("domain", "/box")[0], 2)


def test_domain_errors():
    """EPERM for a name tells who may write one; after ENOMEM the file tells what is in force"""
    long = "@" + 63 * "x"
    with host() as tree:
        unused, unused, text = injected(tree, "write", "EPERM", "domain", "/box", long)
        has(text, "run this as root on the host")
        unused, unused, text = injected(tree, "write", "EPERM", "domain", "/box", "self")
        has(text, "whoever made the cgroup")
        unused, unused, text = injected(tree, "openat", "EROFS", "domain", "/box", long)
        has(text, "mounted read-only")
        unused, unused, text = injected(tree, "write", "ENOMEM", "domain", "/box", long)
        has(text, "nothing was changed")
        tree.write("sys/fs/cgroup/box/memory.ksm.domain", long)
        unused, unused, text = injected(tree, "write", "ENOMEM", "domain", "/box", long)
        has(text, "the new value is in force, but")


def test_usage():
    """no cgroup, or options that there are not, are usage errors"""
    with host() as tree:
        for words in (("on",), ("on", "--nope", "/box"), ("scan",), ("weight", "-x"),
                      ("scan", "/box", "1M", "2M")):
            same((words, tree.run(*words)[0]), (words, 2))


def target(tree, word, env=None):
    status, out, error = tree.run("list", "-rno", "CGROUP", word, env=env)
    return out.splitlines()[0] if status == 0 else error


def test_paths():
    """a path may begin at the mount, below it, or without a slash"""
    with host() as tree:
        for word in ("/box/in", "/sys/fs/cgroup/box/in", "box/in", "/box/in/", "box/in//"):
            same((word, target(tree, word)), (word, "/box/in"))
        same(target(tree, "/sys/fs/cgroup"), "/")
        has(target(tree, "/sys/fs/cgroup/no"), "/sys/fs/cgroup/no: No such file")


def test_pid():
    """a number is a PID; a cgroup of that name needs the slash"""
    with host() as tree:
        same(target(tree, "100"), "/box")
        same(target(tree, "/1000"), "/1000")
        has(target(tree, "1000"), "there is no such process")
        tree.write("proc/5/cgroup", "3:memory:/x")
        has(target(tree, "5"), "in no cgroup of version 2")


def test_unit():
    """a unit by its name, with .service or without; its own subgroups do not count"""
    with host() as tree:
        same(target(tree, "db.service"), "/system.slice/db.service")
        same(target(tree, "db"), "/system.slice/db.service")
        error = target(tree, "web.service")
        has(error, "more than one", "/system.slice/web.service", "/user.slice/web.service")
        lacks(error, "worker")


def test_container_id():
    """a container by the beginning of its id, not its conmon"""
    with host() as tree:
        same(target(tree, ID[:12]), "/machine.slice/libpod-%s.scope" % ID)
        same(target(tree, OTHER), "/system.slice/docker-%s.scope" % OTHER)
        has(target(tree, "dead" * 3), "no cgroup, unit, running container")


def test_container_name():
    """a container by its name: podman and then docker are asked"""
    with host() as tree:
        env = runtime(tree, "podman", {"redis": ID, "stopped": "ab" * 32})
        runtime(tree, "docker", {"nginx": OTHER})
        same(target(tree, "redis", env), "/machine.slice/libpod-%s.scope" % ID)
        same(target(tree, "nginx", env), "/system.slice/docker-%s.scope" % OTHER)
        has(target(tree, "stopped", env), "not running: podman start stopped")
        has(target(tree, "nobody", env), "no cgroup, unit, running container")


def test_scan():
    """scan writes the size and tells what was done"""
    with host() as tree:
        status, out, unused = tree.run("scan", "/box", "512M")
        same((status, tree.read("sys/fs/cgroup/box/memory.ksm.scan")), (0, "512M"))
        has(out, "/box: 0 looked at, 0 pages merged")
        same(tree.run("scan", "box")[0], 0)
        same(tree.read("sys/fs/cgroup/box/memory.ksm.scan"), "max")


def test_scan_on_terminal():
    """on a terminal, where a child writes, the same comes out, errors too"""
    with host() as tree:
        env = {"KSM_CGROUP_ROOT": tree.root}
        status, text = on_terminal("scan", "/box", "1M", env=env)
        same((status, tree.read("sys/fs/cgroup/box/memory.ksm.scan")), (0, "1M"))
        has(text, "/box: 0 looked at")
        os.unlink(tree.path("sys/fs/cgroup/box/memory.ksm.scan"))
        status, text = on_terminal("scan", "/box", env=env)
        same(status, 1)
        has(text, "memory.ksm.scan: No such file")


def test_scan_errors():
    """scan: a size that is none, a cgroup without the file, one that refuses"""
    with host() as tree:
        for bad in ("much", "-5M", "0", "5MM"):
            status, unused, error = tree.run("scan", "--", "/box", bad)
            same(status, 2)
            has(error, "no size")
        path = tree.path("sys/fs/cgroup/box/memory.ksm.scan")
        os.unlink(path)
        has(tree.run("scan", "/box")[2], "memory.ksm.scan: No such file", "doctor")


def test_scan_again():
    """scan refused with EAGAIN: the reason is told"""
    with host(run=0) as tree:
        path = tree.path("sys/fs/cgroup/box/memory.ksm.scan")
        os.unlink(path)
        os.mkfifo(path)
        # Non-blocking, a full pipe answers with EAGAIN.
        end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            while os.write(end, b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        status, unused, error = tree.run("scan", "/box")
        os.close(end)
        same(status, 1)
        has(error, "Resource temporarily unavailable", "run is 0")
