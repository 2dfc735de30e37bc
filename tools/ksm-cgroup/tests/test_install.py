# SPDX-License-Identifier: GPL-2.0
"""What comes with the command: manual pages, completion, make install."""
import os
import re
import shutil
import subprocess
import tempfile

from recorded import HERE, STAT, TOOL, Tree, has, same, tool
from run import Skip

ABOVE = os.path.dirname(HERE)
FILES = ("memory.ksm", "memory.ksm.effective", "memory.ksm.types", "memory.ksm.domain", "memory.ksm.weight",
         "memory.ksm.scan", "memory.ksm.stat")


def page(name):
    with open(os.path.join(ABOVE, "man", name)) as stream:
        text = stream.read()
    found = re.search(r"^\.so man\d/(\S+)", text, re.M)
    return page(found[1]) if found else text.replace("\\-", "-").replace("\\&", "")


def commands():
    text = tool("--help")[1].split("Commands:")[1]
    return re.findall(r"^  (\w+)", text, re.M)


def test_manual_options():
    """each command, and each option that its help names, is in the manual"""
    manual = page("ksm-cgroup.1")
    for name in commands():
        assert re.search(r"^\.(SS|BR) .*\b%s\b" % name, manual, re.M), name
        for option in set(re.findall(r"--[a-z-]+", tool(name, "--help")[1])) - {"--help", "--"}:
            assert option in manual, "%s %s" % (name, option)


def test_manual_files():
    """each file has a page, and each key of memory.ksm.stat is in its page"""
    for name in FILES:
        has(page(name + ".5"), name)
    for key in STAT:
        has(page("memory.ksm.stat.5"), "\n.B %s\n" % key)


def test_manual_format():
    """groff has nothing to say about the pages"""
    if not shutil.which("groff"):
        raise Skip("no groff")
    for name in sorted(os.listdir(os.path.join(ABOVE, "man"))):
        path = os.path.join(ABOVE, "man", name)
        with open(path) as stream:
            if ".so " in stream.read():
                continue
        done = subprocess.run(["groff", "-man", "-ww", "-z", "-K", "utf8", path],
                              capture_output=True, text=True, check=False)
        same((name, done.returncode, done.stderr), (name, 0, ""))


def test_install():
    """make install puts everything where it belongs"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["make", "-s", "-C", ABOVE, "install", "prefix=/usr",
                               "DESTDIR=" + folder, "O=" + os.path.dirname(TOOL)],
                              capture_output=True, text=True, check=False,
                              env={"PATH": os.environ["PATH"]})
        same((done.returncode, done.stderr), (0, ""))
        for name in ["bin/ksm-cgroup", "share/man/man1/ksm-cgroup.1",
                     "share/bash-completion/completions/ksm-cgroup",
                     "share/ksm-cgroup/grafana/ksm-cgroup.json"] + [
                         "share/man/man5/%s.5" % name for name in FILES]:
            assert os.path.isfile(os.path.join(folder, "usr", name)), name


def test_missing_package():
    """a missing library is one clear line with the remedy"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["make", "-s", "-C", ABOVE, "O=" + folder, "PKG_CONFIG=false"],
                              capture_output=True, text=True, check=False,
                              env={"PATH": os.environ["PATH"]})
        same(done.returncode, 2)
        has(done.stderr, "ksm-cgroup needs libcgroup smartcols ncursesw: apt-get install")
        same(len(done.stderr.splitlines()), 1)


def complete(tree, *words):
    script = ("source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _ksm_cgroup; "
              "printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
                  os.path.join(ABOVE, "completion.bash"),
                  " ".join("'%s'" % word for word in (TOOL,) + words), len(words)))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False,
                          env=dict(os.environ, KSM_CGROUP_ROOT=tree.root))
    same(done.stderr, "")
    return done.stdout.split()


def test_completion():
    """bash completes commands, options, columns, values and cgroups"""
    with Tree({"/": {}, "/box": {}, "/box/in": {}, "/bar": {}}) as tree:
        same(complete(tree, "es"), ["estimate"])
        same(set(complete(tree, "")) - {"--help", "--version"}, set(commands()))
        same(complete(tree, "list", "--no"), ["--noheadings"])
        same(complete(tree, "list", "-o", "KSM,PRO"), ["KSM,PROFIT", "KSM,PROCS"])
        same(complete(tree, "domain", "/box", "p"), ["parent"])
        same(complete(tree, "types", "/box", "+z"), ["+zero"])
        same(complete(tree, "types", "/box", "+zero", "-an"), ["-anon"])
        same(sorted(complete(tree, "on", "/b")), ["/bar/", "/box/"])
        same(complete(tree, "on", "box/"), ["box/in/"])
        same(complete(tree, "top", "-o", "sh"), ["share"])
