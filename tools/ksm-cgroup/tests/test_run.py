# SPDX-License-Identifier: GPL-2.0
"""run: what the command is told, and what becomes of its status."""
import ctypes
import os
import stat
import sys

from recorded import TOOL, Tree, has, same, tool
from run import Skip

SHOW = ("import ctypes; print(ctypes.CDLL(None).prctl(68, *[ctypes.c_ulong(0)] * 4))")


def need_prctl():
    if ctypes.CDLL(None).prctl(68, *[ctypes.c_ulong(0)] * 4) < 0:
        raise Skip("this kernel has no PR_GET_MEMORY_MERGE")


def test_merge():
    """the command and what it starts is merged; --no-merge keeps it out"""
    need_prctl()
    nested = [(("run", "-m", "--", TOOL, "run", "--no-merge"), "0")]
    with open(TOOL, "rb") as stream:
        if b"__asan_init" in stream.read():
            nested = []         # the stock kernel would walk over all of the shadow memory
    for words, value in [(("run",), "1"), (("run", "--merge"), "1"), (("run", "-N"), "0")] + nested:
        status, out, error = tool(*words, "--", sys.executable, "-c", SHOW)
        same((words, status, out.strip(), error), (words, 0, value, ""))


def test_status():
    """the status is the command's; 127 and 126 as env has them"""
    need_prctl()
    same(tool("run", "--", "sh", "-c", "exit 42")[0], 42)
    status, unused, error = tool("run", "--", "/nonexistent/program")
    same(status, 127)
    has(error, "/nonexistent/program: No such file")
    status, unused, error = tool("run", "--", "/etc/passwd")
    same(status, 126)
    has(error, "/etc/passwd: Permission denied")


def test_usage():
    """no command, options that exclude each other"""
    for words, reason in ((("run",), "which COMMAND"),
                          (("run", "--merge", "--no-merge", "--", "true"), "exclude each other"),
                          (("run", "--nope"), "bad option")):
        status, unused, error = tool(*words)
        same(status, 2)
        has(error, reason)


def test_scope_needs_files():
    """--scope on another kernel says what is missing"""
    with Tree({"/": {}}, stock=True) as tree:
        status, unused, error = tree.run("run", "--scope", "x", "--", "true")
        same(status, 1)
        has(error, "memory.ksm, which this kernel does not have")


def test_scope_systemd():
    """--scope with systemd: it makes the scope, and this program goes on in it"""
    with Tree({"/": {}}) as tree:
        os.makedirs(tree.path("run/systemd/system"))
        os.makedirs(tree.path("bin"))
        program = tree.path("bin/systemd-run")
        with open(program, "w") as stream:
            stream.write('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        os.chmod(program, stat.S_IRWXU)
        env = {"PATH": tree.path("bin") + ":/usr/bin:/bin"}
        status, out, unused = tree.run("run", "--scope", "job", "-N", "--", "echo", "a b", env=env)
        words = out.splitlines()
        same(status, 0)
        same(words[words.index("--unit") + 1], "job")
        same(words[-6:], ["run", "--in-scope", "--no-merge", "--", "echo", "a b"])
        assert "--scope" in words and words[-7].endswith("ksm-cgroup"), words


def test_in_scope():
    """in the scope, its own memory.ksm is written before the command starts"""
    for option, value in (("--merge", "1"), ("--no-merge", "0"), ("--default", "inherit")):
        with Tree({"/": {}, "/job": {"files": {"memory.ksm.effective": "1"}}},
                  {"self": {"cgroup": "/job"}}) as tree:
            status, out, error = tree.run("run", "--in-scope", option, "--", "echo", "done")
            same((status, out, error), (0, "done\n", ""))
            same(tree.read("sys/fs/cgroup/job/memory.ksm"), value)


def test_scope_not_granted():
    """a scope's 1 that has no effect is told; the command starts all the same"""
    with Tree({"/": {}, "/job": {}}, {"self": {"cgroup": "/job"}}) as tree:
        status, out, error = tree.run("run", "--in-scope", "--merge", "--", "echo", "done")
        same((status, out), (0, "done\n"))
        has(error, "/job: nothing is merged yet: not granted: memory.ksm of /job is 1")
        status, out, error = tree.run("run", "--in-scope", "--default", "--", "echo", "done")
        same((status, out, error), (0, "done\n", ""))
