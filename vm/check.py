#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run the tests in the VM and count.

usage: check.py [--list]

Environment: ONLY='pattern ...' (each part of "kernel/name", * and ? allowed),
KERNEL=name for one kernel only. A test whose time the kernel spent complaining on its
console has failed, whatever it printed. Outputs: build/log/check/.
"""
import fnmatch
import os
import re
import sys
import time

from machine import BUILD, TOP, Machine, VMError
from tests import TESTS

SHARE = os.path.join(BUILD, "share")
LOGS = os.path.join(BUILD, "log", "check")
KERNELS = ("ksm", "debug")
SLOWER = {"debug": 3, "stock-debug": 3}


class Test:
    def __init__(self, name, command, parser, options):
        self.name, self.command, self.parser = name, command, parser
        self.kernels = tuple(options.get("kernels", KERNELS))
        self.machine = (str(options.get("mem", "2G")), int(options.get("cpus", 2)),
                        int(options.get("nodes", 1)), options.get("append", ""))
        self.timeout = int(options.get("timeout", 180))
        self.expected = options.get("expected", {})
        self.skips = options.get("skips", {})
        self.plan = options.get("plan")


def settings(path):
    """The "# key: value" lines at the head of a userland test."""
    result = {}
    with open(path) as stream:
        for line in stream:
            found = re.match(r"# (kernels?|mem|cpus|nodes|append|timeout): *(.+)", line)
            if found:
                key = found[1]
                if key.startswith("kernel"):
                    result["kernels"] = re.split(r"[ ,]+", found[2].strip())
                else:
                    result[key] = found[2].strip()
            elif not line.startswith("#"):
                break
    return result


def table():
    tests = [Test(*row) for row in TESTS]
    folder = os.path.join(SHARE, "ksm_cgroup")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name in programs() and os.access(path, os.X_OK):
            source = os.path.join(TOP, "selftests", name + ".c")
            options = c_settings(source)
            tests.append(Test(name, "cd /mnt/share/ksm_cgroup && ./" + name, "tap", options))
    folder = os.path.join(TOP, "selftests", "userland")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith(".sh") and os.access(os.path.join(folder, name), os.X_OK):
            tests.append(Test("userland/" + name[:-3],
                              "cd /mnt/share/userland && ./" + name, "tap",
                              dict({"timeout": 300}, **settings(os.path.join(folder, name)))))
    return tests


def programs():
    try:
        with open(os.path.join(SHARE, "ksm_cgroup.programs")) as stream:
            return stream.read().split()
    except FileNotFoundError:
        return []


def c_settings(path):
    """As settings(), from " * vm: key=value key=value" in a C file's comments."""
    result = {}
    try:
        with open(path) as stream:
            for found in re.finditer(r"^ \* vm: (.*)", stream.read(), re.M):
                for word in found[1].split():
                    key, unused, value = word.partition("=")
                    result[key] = value.split(",") if key == "kernels" else value
    except FileNotFoundError:
        pass
    return result


# -- parsers: output -> list of (name, "pass"|"fail"|"skip", note)

LINE = re.compile(r"^( *)(not ok|ok) (\d+)(?: -)? *(.*)$")


def verdict(word, text):
    if re.search(r"# *SKIP", text, re.I):
        return "skip"
    if word == "ok" or re.search(r"# *XFAIL", text):
        return "pass"
    return "fail"


def parse_tap(output, status, plan=None):
    results = []
    for line in output.splitlines():
        found = re.match(r"^1\.\.(\d+)(.*)$", line)
        if found:
            plan = int(found[1])
            if plan == 0:
                return [("all", "skip", found[2].strip(" #"))]
        found = LINE.match(line)
        if found and not found[1]:
            name = re.split(r" *# ", found[4])[0].strip() or \
                re.sub(r"# *SKIP *", "", found[4]) or found[3]
            results.append((name, verdict(found[2], found[4]), found[4] if "#" in found[4] else ""))
    if plan is None:
        if status == 4:
            return [("all", "skip", "not run here")]
        results.append(("plan", "fail", "no plan printed, exit status %s" % status))
    elif plan != len(results):
        results.append(("plan", "fail", "%d results printed of %d planned, exit status %s"
                        % (len(results), plan, status)))
    elif status not in (0, 4) and all(result[1] != "fail" for result in results):
        results.append(("exit", "fail", "exit status %s with all results ok" % status))
    return results


def parse_exit(output, status, plan=None):
    del plan
    lines = output.strip().splitlines()
    if status == 4:
        return [("", "skip", lines[-1] if lines else "")]
    return [("", "pass" if status == 0 else "fail",
             "" if status == 0 else "exit status %s: %s" % (status, lines[-1] if lines else ""))]


def parse_kunit(output, status, plan=None):
    """Leaves are the indented lines; a suite's own line must agree with them."""
    del status
    results, leaves = [], []
    for line in output.splitlines():
        found = re.match(r"^ +1\.\.(\d+)", line)
        if found:
            plan = int(found[1])
        found = LINE.match(line)
        if not found:
            continue
        if found[1]:
            leaves.append((found[4], found[2], len(found[1])))
            continue
        suite = found[4].split(" #")[0]
        top = min((leaf[2] for leaf in leaves), default=0)
        cases = [leaf for leaf in leaves if leaf[2] == top]
        for text, word, unused in cases:
            results.append((suite + "." + text.split(" #")[0], verdict(word, text), ""))
        if plan is not None and plan != len(cases):
            results.append((suite, "fail", "%d results of %d planned" % (len(cases), plan)))
        leaves, plan = [], None
    if not results:
        results.append(("suites", "fail", "no KUnit results in debugfs"))
    return results


PARSERS = {"tap": parse_tap, "exit": parse_exit, "kunit": parse_kunit}

# -- running


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, label, verdict_, note):
        if verdict_ == "pass":
            self.passed += 1
        elif verdict_ == "skip":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append("%s%s" % (label, ": " + note if note else ""))


def judge(test, kernel, output, result, count, took):
    label = kernel + "/" + test.name
    results = PARSERS[test.parser](output, result.status, test.plan)
    if result.status is None:
        results.append(("machine", "fail", "the time ran out" if result.timeout
                        else "the VM went away"))
    elif result.timeout:
        results.append(("time", "fail", "did not end within its time"))
    if result.trouble:
        results.append(("kernel log", "fail", result.trouble[0][0]))
    shown, numbers = [], {"pass": 0, "fail": 0, "skip": 0}
    for name, what, note in results:
        if what == "fail" and name in test.expected:
            what, note = "skip", "expected: " + test.expected[name]
        elif what == "skip":
            note = test.skips.get(name, note)
        numbers[what] += 1
        count.add(label + (" " + name if name else ""), what, note)
        if what != "pass":
            shown.append("      %s %s%s" % (what, name, ": " + note if note else ""))
    print("  %-4s %-40s %3d passed %3d failed %3d skipped  %5.1f s" % (
        "FAIL" if numbers["fail"] else "ok", label, numbers["pass"], numbers["fail"],
        numbers["skip"], took), flush=True)
    for line in shown:
        print(line, flush=True)
    if numbers["fail"]:
        for line in output.splitlines()[-15:]:
            print("      | " + line)
        for unused, text in result.trouble:
            for line in text.splitlines():
                print("      > " + line)
    sys.stdout.flush()


class Lost:
    """The result of a test that had no machine to run on."""
    def __init__(self, trouble):
        self.status, self.timeout, self.trouble = None, False, trouble


def run_group(kernel, machine, tests, count):
    mem, cpus, nodes, append = machine
    pending = list(tests)
    boots = 0
    while pending:
        boots += 1
        log = os.path.join(LOGS, "console-%s-%s-%dnode%s-%d.log" % (
            kernel, mem, nodes, "-" + re.sub(r"\W+", "_", append) if append else "", boots))
        start = time.monotonic()
        try:
            with Machine(kernel=kernel, mem=mem, cpus=cpus, nodes=nodes, share=SHARE, log=log,
                         append="kunit.enable=1 " + append,
                         boot_timeout=600 if kernel in SLOWER else 240) as vm:
                print("-- %s kernel, %s, %s, %d cpus, %d nodes %s: up after %.0f s" % (
                    kernel, vm.accel, mem, cpus, nodes, append, time.monotonic() - start),
                      flush=True)
                trouble = vm.troubles()
                if trouble:
                    count.add(kernel + "/boot", "fail", trouble[0][0])
                for unused, text in trouble:
                    print("      > " + text.replace("\n", "\n      > "), flush=True)
                while pending and vm.alive:
                    test = pending.pop(0)
                    run_one(vm, kernel, test, count)
        except VMError as error:
            print("      " + str(error).replace("\n", "\n      "), flush=True)
            if pending:
                judge(pending.pop(0), kernel, "", Lost([]), count, time.monotonic() - start)
        if boots > 12:
            for test in pending:
                judge(test, kernel, "", Lost([]), count, 0)
            break


def run_one(vm, kernel, test, count):
    start, chunks = time.monotonic(), []
    # On the disk: pages of a tmpfs are no page cache that could be reclaimed.
    script = ("scratch=$(mktemp -d -p /var/tmp) && cd \"$scratch\" || exit 99\n(\n%s\n)\n"
              "status=$?\ncd / && rm -rf \"$scratch\"\nexit $status" % test.command)
    result = vm.run(script, test.timeout * SLOWER.get(kernel, 1), chunks.append, chunks.append)
    output = b"".join(chunks).decode(errors="replace")
    name = re.sub(r"\W+", "_", "%s-%s" % (kernel, test.name))
    with open(os.path.join(LOGS, name + ".log"), "w") as stream:
        stream.write(output)
        for unused, text in result.trouble:
            stream.write("\n--- console\n%s\n" % text)
    judge(test, kernel, output, result, count, time.monotonic() - start)


def main():
    only = (os.environ.get("ONLY") or "*").split()
    kernels = [os.environ["KERNEL"]] if os.environ.get("KERNEL") else KERNELS
    os.makedirs(LOGS, exist_ok=True)
    groups = {}
    for test in table():
        for kernel in kernels:
            label = kernel + "/" + test.name
            if (kernel in test.kernels or kernel.startswith("stock")) and (
                    any(fnmatch.fnmatch(label, "*" + word + "*") for word in only)):
                groups.setdefault((kernel, test.machine), []).append(test)
    if sys.argv[1:] == ["--list"]:
        for (kernel, machine), tests in groups.items():
            for test in tests:
                print("%s/%s" % (kernel, test.name), *[str(word) for word in machine])
        return 0
    start, count = time.monotonic(), Count()
    for (kernel, machine), tests in groups.items():
        run_group(kernel, machine, tests, count)
    if not groups:
        print("no test matches ONLY=%s" % " ".join(only))
        return 1
    for text in count.failures:
        print("FAILED " + text)
    print("all in %.0f s, logs in build/log/check/" % (time.monotonic() - start))
    print("%d passed, %d failed, %d skipped" % (count.passed, count.failed, count.skipped))
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
