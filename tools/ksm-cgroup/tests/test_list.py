# SPDX-License-Identifier: GPL-2.0
"""list: tree, columns, order, filters, JSON, other kernels."""
import json

from recorded import STAT, Tree, has, lacks, same, tool

PAGE = 4096
BOX = dict(zip(STAT, (11520, 5760, 5760, 256, 7, 3, 0, 9, 1500, 65536, 6078464, 2, 90000, 10,
                      12000, 4, 5, 6, 1234567, 7)))


def boxes(**more):
    return Tree({"/": {}, "/a": {"ksm": "1", "stat": BOX, "weight": 300},
                 "/a/in": {"stat": {"ksm_merging_pages": 20000}},
                 "/a/apart": {"ksm": "madvise"}, "/a/joined": {"ksm": "1", "domain": "parent"},
                 "/b": {"ksm": "0", "stat": {"ksm_merging_pages": 1}}, "/b/under": {"ksm": "1"},
                 "/t": {"type": "threaded"}, "/c x": {"stat": {"pages_sharing": -5, "pages_saved": -3}}}, **more)


def rows(tree, *arguments):
    status, out, error = tree.run("list", "-lrn", *arguments)
    same((status, error), (0, ""))
    return [line.split() for line in out.splitlines()]


def one(tree, path, column, *options):
    return [line[1] for line in rows(tree, "-o", "CGROUP," + column, *options)
            if line[0] == path and len(line) > 1]


def test_default():
    """without a command the default columns are shown, as a tree"""
    with boxes() as tree:
        status, out, unused = tree.run()
        same(status, 0)
        same(out.split("\n")[0].split(), ["CGROUP", "KSM", "EFFECTIVE", "DOMAIN", "WEIGHT",
                                          "MERGED", "ZERO", "SAVED", "COST", "PROFIT"])
        has(out, "├─a ", "│ ├─in", "45.0M")
        lacks(out, "/a/in")


def test_threaded():
    """threaded cgroups have no figures of their own and are left out"""
    with boxes() as tree:
        lacks(tree.run()[1], "─t ")


def test_stat_keys():
    """every key of memory.ksm.stat has a column with its value"""
    wanted = {"MERGED": 11520 * PAGE, "SHARED": 5760 * PAGE, "SHARING": 5760 * PAGE,
              "ZERO": 256 * PAGE, "UNIQUE": 7 * PAGE, "CHANGING": 3 * PAGE, "FOREIGN": 0,
              "PENDING": 9 * PAGE, "SAVED": 1500 * PAGE, "COST": 65536, "PROFIT": 6078464, "PROCS": 2,
              "SCANNED": 90000 * PAGE, "SKIPPED": 10 * PAGE, "MERGES": 12000, "UNMERGES": 4,
              "COW": 5, "FAILURES": 6,
              "CPU": 1.234567, "PASSES": 7, "WEIGHT": 300}
    with boxes() as tree:
        for column, value in wanted.items():
            shown = one(tree, "/a", column, "-b")
            assert len(shown) == 1 and abs(float(shown[0]) - value) < 0.001, (column, shown)


def test_keys_out_of_order():
    """keys that are unknown or in another order do no harm"""
    with boxes() as tree:
        tree.write("sys/fs/cgroup/a/memory.ksm.stat",
                   "new_key 99\nfull_scans 4\npages_shared 3\nksm_merging_pages 8\npages 5")
        same(one(tree, "/a", "PASSES"), ["4"])
        same(one(tree, "/a", "SHARED", "-b"), [str(3 * PAGE)])
        same(one(tree, "/a", "MERGED", "-b"), [str(8 * PAGE)])


def test_negative():
    """sizes can be negative"""
    with boxes() as tree:
        for column, value in (("SHARING", "-20.0K"), ("SAVED", "-12.0K")):
            same([line[-1] for line in rows(tree, "-o", "CGROUP," + column) if "x" in line[0]],
                 [value])


def older(about):
    """memory.ksm.stat of an engine without pages_saved."""
    stat = {key: about.get(key, 0) for key in STAT if key != "pages_saved"}
    return {"files": {"memory.ksm.stat": "\n".join("%s %s" % item for item in stat.items())}}


def test_older_engine():
    """without pages_saved SAVED is what is merged less the frames, and sorts like that"""
    with Tree({"/": {}, "/a": older(BOX), "/b": older({"pages_sharing": -8}),
               "/c": older({"ksm_zero_pages": 3})}) as tree:
        same(rows(tree, "-b", "-o", "CGROUP,SAVED,PROFIT", "-x", "-SAVED"),
             [["/a", str((5760 + 256) * PAGE), "6078464"], ["/c", str(3 * PAGE), "0"],
              ["/", "0", "0"], ["/b", str(-8 * PAGE), "0"]])


def test_domain():
    """the domain is the nearest cgroup with a value of its own that does not join"""
    with boxes() as tree:
        domains = dict(line for line in rows(tree, "-o", "CGROUP,DOMAIN") if len(line) == 2)
        same(domains["/"], "/")
        same(domains["/a"], "/a")
        same(domains["/a/in"], "/a")
        same(domains["/a/apart"], "/a/apart")
        same(domains["/a/joined"], "/a")
        same(domains["/b"], "/")
        same(domains["/b/under"], "/b/under")


def test_domain_of_subtree():
    """the domain is right where the tree begins below it"""
    with boxes() as tree:
        same(rows(tree, "-o", "CGROUP,DOMAIN", "/a/in"), [["/a/in", "/a"]])


NAMED = {"/": {}, "/q": {}, "/q/one": {"ksm": "1", "domain": "@shop"}, "/q/one/in": {},
         "/q/one/apart": {"ksm": "1"}, "/q/one/with": {"ksm": "madvise", "domain": "parent"},
         "/r": {"ksm": "1"}, "/r/two": {"ksm": "1", "domain": "@shop"},
         "/r/idle": {"domain": "@shop"}, "/r/off": {"ksm": "0", "domain": "@shop"},
         "/q/long": {"ksm": "1", "domain": "@" + 63 * "n"},
         "/q/not": {"ksm": "1", "ungranted": True, "domain": "@shop"}}


def test_domain_name():
    """a name is the domain where the cgroup's own value counts, and of what follows it"""
    with Tree(NAMED) as tree:
        domains = dict(rows(tree, "-o", "CGROUP,DOMAIN"))
        for path, domain in (("/q/one", "@shop"), ("/q/one/in", "@shop"), ("/r/two", "@shop"),
                             ("/q/one/apart", "/q/one/apart"), ("/q/one/with", "@shop"),
                             ("/r/idle", "/r"), ("/r/off", "/r"), ("/q/not", "/"),
                             ("/q/long", "@" + 63 * "n")):
            same((path, domains[path]), (path, domain))
        same(one(tree, "/r/idle", "JOIN"), ["@shop"])
        same(one(tree, "/q/long", "JOIN"), ["@" + 63 * "n"])
        same(one(tree, "/q/one/with", "JOIN"), ["parent"])
        same(one(tree, "/q/one/in", "JOIN"), ["self"])
        same(one(tree, "/", "JOIN"), [])
        same([line[0] for line in rows(tree, "-o", "CGROUP", "-Q", "domain == @shop")],
             ["/q/one", "/q/one/in", "/q/one/with", "/r/two"])
        # A subtree has its ancestors' settings.
        same(rows(tree, "-o", "CGROUP,DOMAIN", "/q/one/in"), [["/q/one/in", "@shop"]])


def test_effective():
    """a 0 above wins"""
    with boxes() as tree:
        same(one(tree, "/b/under", "EFFECTIVE"), ["0"])
        same(one(tree, "/b/under", "KSM"), ["1"])


def test_subtree():
    """list CGROUP shows it and what is below"""
    with boxes() as tree:
        same([line[0] for line in rows(tree, "-o", "CGROUP", "/a")],
             ["/a", "/a/apart", "/a/in", "/a/joined"])


def test_sort():
    """-x sorts, -x -COLUMN the largest first, what is unknown below all"""
    with boxes() as tree:
        names = [line[0] for line in rows(tree, "-o", "CGROUP,MERGED", "-x", "-MERGED")]
        same(names[:3], ["/a/in", "/a", "/b"])
        names = [line[0] for line in rows(tree, "-o", "CGROUP,MERGED", "-x", "MERGED")]
        same(names[-3:], ["/b", "/a", "/a/in"])
        # The root has no weight.
        same(rows(tree, "-o", "CGROUP,WEIGHT", "-x", "WEIGHT")[0], ["/"])
        same(rows(tree, "-o", "CGROUP,WEIGHT", "-x", "-WEIGHT")[-1], ["/"])


def test_sort_tree():
    """in a tree the children of each are sorted"""
    with boxes() as tree:
        out = tree.run("list", "-o", "CGROUP,MERGED", "-x", "-MERGED")[1]
        assert out.index("─a ") < out.index("─in") < out.index("─apart") < out.index("─b "), out


def test_filter():
    """-Q keeps what fits: sizes, numbers, text, patterns, several of them"""
    with boxes() as tree:
        def kept(*filters):
            words = [word for one_ in filters for word in ("-Q", one_)]
            return [line[0] for line in rows(tree, "-o", "CGROUP", *words)]
        same(kept("merged > 45M"), ["/a/in"])
        same(kept("MERGED>=45M"), ["/a", "/a/in"])
        same(kept("ksm == 1"), ["/a", "/a/joined", "/b/under"])
        same(kept("ksm == 1", "effective != 0"), ["/a", "/a/joined"])
        same(kept("cgroup =~ ^/b"), ["/b", "/b/under"])
        same(kept("cgroup !~ /"), [])
        same(kept("weight == 300"), ["/a"])
        same(kept("weight > 300") + kept("weight < 100"), [])
        same(kept("cpu > 1.2"), ["/a"])
        same(kept("sharing < -1K"), ["/c\\x20x"])
        same(len(kept("passes <= 0")), 7)


def test_filter_tree():
    """in a tree, what is left hangs on the nearest cgroup that is left"""
    with boxes() as tree:
        out = tree.run("list", "-o", "CGROUP", "-Q", "cgroup != /a", "-Q", "cgroup != /b")[1]
        has(out, "─a/in", "─b/under")


def test_filter_errors():
    """a filter that makes no sense is a usage error that says why"""
    with boxes() as tree:
        for text, reason in (("merged", "COLUMN OPERATOR VALUE"), ("nope > 1", "no column 'nope'"),
                             ("merged > many", "no value of MERGED"), ("weight > 5x", "no value"),
                             ("cpu < x", "no value"), ("cgroup =~ (", "no regular expression"),
                             ("merged =~ 5", "only text")):
            status, out, error = tree.run("list", "-Q", text)
            same((status, out), (2, ""))
            has(error, reason)


def test_json():
    """-J is JSON, a tree of children; numbers are numbers, what is unknown is null"""
    with boxes() as tree:
        out = tree.run("list", "-J", "-b", "-o", "CGROUP,MERGED,CPU,WEIGHT,KSM")[1]
        top = json.loads(out)["cgroups"][0]
        same((top["cgroup"], top["weight"], top["merged"]), ("/", None, 0))
        box = top["children"][0]
        same((box["cgroup"], box["merged"], box["cpu"], box["ksm"]),
             ("/a", 11520 * PAGE, 1.235, "1"))
        flat = json.loads(tree.run("list", "-Jl", "-o", "CGROUP,MERGED")[1])["cgroups"]
        same([line["merged"] for line in flat if line["cgroup"] == "/a"], ["45.0M"])


def test_all_columns():
    """--output-all has every column that the help names; -o +X adds one"""
    with boxes() as tree:
        names = tree.run("list", "-r", "--output-all")[1].splitlines()[0].split()
        helped = tree.run("list", "--help")[1].split("Columns:")[1]
        same(len(names), 29)
        for name in names:
            has(helped, name)
        has(tree.run("list", "-o", "+CPU")[1].splitlines()[0], "PROFIT", "CPU")


def test_usage():
    """wrong options end with 2 and say what is wrong"""
    with boxes() as tree:
        for words, reason in ((("list", "-o", "NOPE"), "no column 'NOPE'"),
                              (("list", "-x", "NOPE"), "no column 'NOPE'"),
                              (("list", "-J", "-r"), "exclude each other"),
                              (("list", "a", "b"), "one CGROUP"), (("list", "-o", ""), "no column"),
                              (("list", "--nope"), "bad option"),
                              (("list", "-o", ",".join(["KSM"] * 65)), "more than 64"),
                              (("nope",), "no command 'nope'")):
            status, out, error = tree.run(*words)
            same((status, out), (2, ""))
            has(error, reason)


def test_stock():
    """on another kernel: sums of what the processes say, and what can't be known"""
    with Tree({"/": {}, "/s": {"pids": [1]}, "/s/x": {"pids": [2, 3, 0]}, "/e": {}},
              {1: {"merging": 10, "items": 4, "profit": 100, "zero": 1, "cgroup": "/s"},
               2: {"merging": 20, "profit": 7, "mergeable": "yes"}}, stock=True, run=1,
              pages_shared=11, pages_sharing=22, general_profit=333) as tree:
        status, out, error = tree.run("list", "-l", "-b", "-n", "-o",
                                      "CGROUP,MERGED,COST,PROFIT,PROCS,SHARED,SAVED,KSM")
        same(status, 0)
        found = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
        same(found["/s"], [str(30 * PAGE), str(4 * 64), "107", "1"])
        same(found["/s/x"], [str(20 * PAGE), "0", "7", "1"])
        same(found["/"], [str(33 * PAGE), str(4 * 64), "333", "1", str(11 * PAGE),
                          str(22 * PAGE)])
        has(error, "no memory.ksm", "SAVED")
        same(tree.run("list", "-J")[2], "")


def test_host_saves():
    """without the files, but with pages_saved of the host, the root has that"""
    with Tree({"/": {}, "/s": {"pids": [1]}}, {1: {"merging": 10}}, stock=True, run=1,
              pages_shared=11, pages_sharing=22, ksm_zero_pages=5, pages_saved=17) as tree:
        same(rows(tree, "-b", "-o", "CGROUP,SAVED"), [["/", str(17 * PAGE)], ["/s"]])


def test_no_cgroups():
    """without cgroup version 2 the message says how to get it"""
    with Tree({"/": {}}, mounts=False) as tree:
        status, unused, error = tree.run("list")
        same(status, 1)
        has(error, "no cgroup version 2", "mount -t cgroup2")


def test_help():
    """--help, --version and each command's --help end with 0"""
    status, out, error = tool("--help")
    same((status, error), (0, ""))
    commands = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert "list" in commands and "doctor" in commands
    for words in [("--version",), ("-h",)] + [(name, "--help") for name in commands]:
        status, out, error = tool(*words)
        same((words, status, error), (words, 0, ""))
        assert out
