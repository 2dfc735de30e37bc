# SPDX-License-Identifier: GPL-2.0
"""export: Prometheus' text format, and the dashboard that is made for it."""
import json
import os
import re

from recorded import Tree, has, lacks, same

SAMPLE = re.compile(r'^(ksm_cgroup_\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (-?[\d.]+)$')


def tree():
    odd = '/o"d\\d'
    return Tree({"/": {}, "/box": {"ksm": "1", "stat": {
        "ksm_merging_pages": 3, "pages_sharing": 2, "pages_pending": 2, "pages_saved": -1,
        "scan_usec": 1500000, "general_profit": -7, "full_scans": 9}},
        "/box/in": {}, odd: {"stat": {"ksm_merging_pages": 1}}, "/t": {"type": "threaded"}})


def parse(text):
    samples, types, helps, blocks = {}, {}, set(), []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in types, line
            types[name] = kind
        elif line.startswith("# HELP "):
            helps.add(line.split()[2])
        else:
            found = SAMPLE.match(line)
            assert found, line
            assert found[1] in types and found[1] in helps, line
            if not blocks or blocks[-1] != found[1]:
                blocks.append(found[1])
            samples[found[1], found[2]] = float(found[3])
    same(len(blocks), len(set(blocks)))
    for name, kind in types.items():
        same((name, name.endswith("_total")), (name, kind == "counter"))
    return samples


def test_format():
    """each metric has help and type, once, and its samples in one block"""
    with tree() as host:
        status, out, error = host.run("export")
        same((status, error), (0, ""))
        samples = parse(out)
        same(samples["ksm_cgroup_merged_bytes", 'cgroup="/box"'], 3 * 4096)
        same(samples["ksm_cgroup_pending_bytes", 'cgroup="/box"'], 2 * 4096)
        same(samples["ksm_cgroup_saved_bytes", 'cgroup="/box"'], -4096)
        same(samples["ksm_cgroup_scan_seconds_total", 'cgroup="/box"'], 1.5)
        same(samples["ksm_cgroup_profit_bytes", 'cgroup="/box"'], -7)
        same(samples["ksm_cgroup_weight", 'cgroup="/box"'], 100)
        same(samples["ksm_cgroup_run", None], 0)
        same(samples["ksm_cgroup_run_cgroups", None], 1)
        same(samples["ksm_cgroup_info",
                     'cgroup="/box/in",ksm="inherit",effective="1",domain="/box"'], 1)
        lacks(out, 'cgroup="/t"')


def test_domain_name():
    """a domain with a name is known by it"""
    with Tree({"/": {}, "/a": {"ksm": "1", "domain": "@shop"}, "/a/in": {}}) as host:
        has(host.run("export")[1], 'info{cgroup="/a",ksm="1",effective="1",domain="@shop"} 1',
            'info{cgroup="/a/in",ksm="inherit",effective="1",domain="@shop"} 1')


def test_escapes():
    """quotes and backslashes in names are escaped"""
    with tree() as host:
        has(host.run("export")[1], r'merged_bytes{cgroup="/o\"d\\d"} 4096')


def test_subtree():
    """export CGROUP has it and what is below"""
    with tree() as host:
        out = host.run("export", "/box")[1]
        has(out, 'cgroup="/box/in"')
        lacks(out, 'cgroup="/"')


def test_stock():
    """on another kernel there is what the processes say, and no settings"""
    with Tree({"/": {}, "/s": {"pids": [1]}}, {1: {"merging": 5}}, stock=True) as host:
        out = host.run("export")[1]
        same(parse(out)["ksm_cgroup_merged_bytes", 'cgroup="/s"'], 5 * 4096)
        lacks(out, "ksm_cgroup_info", "ksm_cgroup_weight")


def test_saved_on_stock():
    """what is saved is known for the host only, as mappings less frames"""
    with Tree({"/": {}, "/s": {"pids": [1]}}, {1: {"merging": 5}}, stock=True,
              pages_sharing=4, ksm_zero_pages=3) as host:
        found = {name: value for name, value in parse(host.run("export")[1]).items()
                 if name[0] == "ksm_cgroup_saved_bytes"}
        same(found, {("ksm_cgroup_saved_bytes", 'cgroup="/"'): 7 * 4096})


def test_file():
    """-o replaces a file as a whole, readable for the collector; nothing is left over"""
    with tree() as host:
        path = host.path("out/ksm.prom")
        status, unused, error = host.run("export", "-o", path)
        same(status, 1)
        has(error, path, "does its directory exist")
        os.mkdir(host.path("out"))
        same(host.run("export", "-o", path)[:2], (0, ""))
        parse(open(path).read())
        same(os.stat(path).st_mode & 0o777, 0o644)
        same(os.listdir(host.path("out")), ["ksm.prom"])
        same(host.run("export", "a", "b")[0], 2)
        same(host.run("export", "-x")[0], 2)


def test_full_disk():
    """a file that can't be written whole does not replace the old one"""
    with tree() as host:
        same(host.run("export", "-o", "/dev/full/x")[0], 1)


def test_dashboard():
    """the dashboard asks for metrics that are exported"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "grafana",
                        "ksm-cgroup.json")
    with open(path) as stream:
        board = json.load(stream)
    with tree() as host:
        names = {name for name, unused in parse(host.run("export")[1])}
    asked = set()
    for panel in board["panels"]:
        for query in panel.get("targets", ()):
            asked |= set(re.findall(r"ksm_cgroup_\w+", query["expr"]))
    assert asked, "no queries"
    same(asked - names, set())
    same(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))
