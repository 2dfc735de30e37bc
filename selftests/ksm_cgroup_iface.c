// SPDX-License-Identifier: GPL-2.0
/*
 * The files memory.ksm, .effective, .domain, .weight, .scan and .stat as files:
 * which values they take and give back, what they refuse, whom they let in, and
 * how the values on a path make up the effective one.
 *
 * - what was written is read back; what is refused changes nothing
 * - a 0 anywhere on the path wins, otherwise the nearest value that is not
 *   inherit decides; the root starts with madvise and cannot inherit
 * - threaded cgroups have none of the files; a controller that goes and comes
 *   back brings the defaults
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ksmlib.h"

static const char * const values[] = { "inherit", "1", "madvise", "0" };

static const char * const refused[] = {
	"2", "-1", "00", "10", "1 1", "yes", "on", "always", "never", "max",
	"madvis", "madvised", "MADVISE", "inherit1", "inherited", "self", "\n",
	"0x1", "1,0", "1\n0",
};

static const char * const stat_keys[] = {
	"ksm_merging_pages", "pages_shared", "pages_sharing", "ksm_zero_pages",
	"pages_unshared", "pages_volatile", "pages_foreign",
	"ksm_metadata_bytes", "general_profit", "processes", "pages_scanned",
	"pages_skipped", "pages_merged", "pages_unmerged", "cow_breaks",
	"merge_failures", "scan_usec", "full_scans",
};

static bool reads(const char *cg, const char *file, const char *want)
{
	return !strcmp(cg_get(cg, file), want);
}

static void defaults(void)
{
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	CHECK(reads(cg, "memory.ksm", "inherit"), "new cgroup says %s",
	      cg_get(cg, "memory.ksm"));
	CHECK(reads(cg, "memory.ksm.effective",
		    cg_get(CGROOT, "memory.ksm")), "new cgroup does %s",
	      cg_get(cg, "memory.ksm.effective"));
	CHECK(reads(cg, "memory.ksm.domain", "self"), "new domain is %s",
	      cg_get(cg, "memory.ksm.domain"));
}

static void read_back(void)
{
	const char *cg;
	char line[16];
	size_t i, j;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		for (j = 0; j < ARRAY_SIZE(values); j++) {
			cg_set(cg, "memory.ksm", values[i]);
			CHECK(reads(cg, "memory.ksm", values[i]), "%s became %s",
			      values[i], cg_get(cg, "memory.ksm"));
			/* as echo writes it, and a second time */
			snprintf(line, sizeof(line), "%s\n", values[j]);
			cg_set(cg, "memory.ksm", line);
			cg_set(cg, "memory.ksm", line);
			CHECK(reads(cg, "memory.ksm", values[j]), "%s became %s",
			      values[j], cg_get(cg, "memory.ksm"));
		}
	}
}

static void bad_values(void)
{
	const char *cg, *effective;
	size_t i, j;
	int ret;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		cg_set(cg, "memory.ksm", values[i]);
		effective = strdup(cg_get(cg, "memory.ksm.effective"));
		for (j = 0; j < ARRAY_SIZE(refused); j++) {
			ret = cg_put(cg, "memory.ksm", refused[j]);
			CHECK(ret == -EINVAL, "writing '%s' gives %d",
			      refused[j], ret);
			CHECK(reads(cg, "memory.ksm", values[i]) &&
			      reads(cg, "memory.ksm.effective", effective),
			      "refused '%s' changed %s to %s", refused[j],
			      values[i], cg_get(cg, "memory.ksm"));
		}
		free((void *)effective);
	}
}

static const char *expected(const char *root, int nr, const int *v)
{
	const char *nearest = root;
	int i;

	for (i = 0; i < nr; i++) {
		if (!strcmp(values[v[i]], "0"))
			return "0";
		if (strcmp(values[v[i]], "inherit"))
			nearest = values[v[i]];
	}
	return strcmp(root, "0") ? nearest : "0";
}

/* All 64 assignments to a path of three, each level looked at each time. */
static void check_path(const char *root, const char **cg)
{
	int n, level, v[3];
	const char *want;

	for (n = 0; n < 64; n++) {
		v[0] = n & 3;
		v[1] = n >> 2 & 3;
		v[2] = n >> 4;
		/* bottom up and top down must come to the same */
		for (level = 0; level < 3; level++) {
			int l = n & 1 ? 2 - level : level;

			cg_set(cg[l], "memory.ksm", values[v[l]]);
		}
		for (level = 0; level < 3; level++) {
			want = expected(root, level + 1, v);
			CHECK(reads(cg[level], "memory.ksm.effective", want),
			      "%s over %s/%s/%s: level %d does %s, not %s", root,
			      values[v[0]], values[v[1]], values[v[2]], level,
			      cg_get(cg[level], "memory.ksm.effective"), want);
			CHECK(reads(cg[level], "memory.ksm", values[v[level]]),
			      "level %d says %s", level,
			      cg_get(cg[level], "memory.ksm"));
		}
	}
}

static void path_rule(void)
{
	const char *cg[3];

	ksm_need_cgroup();
	cg[0] = cg_new(NULL, "a");
	cg[1] = cg_new(cg[0], "b");
	cg[2] = cg_new(cg[1], "c");
	check_path("madvise", cg);
}

static void root_file(void)
{
	const char *cg[3];
	size_t i;

	ksm_need_cgroup();
	CHECK(reads(CGROOT, "memory.ksm", "madvise"), "the root starts with %s",
	      cg_get(CGROOT, "memory.ksm"));
	CHECK(cg_put(CGROOT, "memory.ksm", "inherit") == -EINVAL,
	      "the root takes inherit");
	for (i = 0; i < ARRAY_SIZE(refused); i++)
		CHECK(cg_put(CGROOT, "memory.ksm", refused[i]) == -EINVAL,
		      "the root takes '%s'", refused[i]);
	CHECK(reads(CGROOT, "memory.ksm", "madvise"), "the root became %s",
	      cg_get(CGROOT, "memory.ksm"));

	cg[0] = cg_new(NULL, "a");
	cg[1] = cg_new(cg[0], "b");
	cg[2] = cg_new(cg[1], "c");
	for (i = 1; i < ARRAY_SIZE(values); i++) {
		cg_set(CGROOT, "memory.ksm", values[i]);
		CHECK(reads(CGROOT, "memory.ksm", values[i]), "root: %s became %s",
		      values[i], cg_get(CGROOT, "memory.ksm"));
		check_path(values[i], cg);
	}
	cg_set(CGROOT, "memory.ksm", "madvise");
}

static void domain_values(void)
{
	static const char * const bad[] = {
		"", "\n", "0", "1", "root", "Self", "selfish", "parents", "self parent",
	};
	static const char * const good[] = { "parent", "self", "parent\n", "self\n" };
	const char *cg, *old;
	size_t i, j;
	int ret;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		cg_set(cg, "memory.ksm.domain", good[i]);
		old = cg_get(cg, "memory.ksm.domain");
		CHECK(!strncmp(old, good[i], strlen(old)) && old[0] == good[i][0],
		      "%s became %s", good[i], old);
		for (j = 1; j < ARRAY_SIZE(bad); j++) {
			ret = cg_put(cg, "memory.ksm.domain", bad[j]);
			CHECK(ret == -EINVAL, "writing '%s' gives %d", bad[j], ret);
		}
		CHECK(reads(cg, "memory.ksm.domain", i % 2 ? "self" : "parent"),
		      "a refused value made it %s", cg_get(cg, "memory.ksm.domain"));
		CHECK(reads(cg, "memory.ksm", "inherit"),
		      "the domain changed memory.ksm");
	}
}

static void weight_values(void)
{
	static const char * const bad[] = { "0", "10001", "-1", "x", "1.5", "\n" };
	const char *cg;
	size_t i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	if (!cg_has(cg, "memory.ksm.weight"))
		ksm_skip("this kernel has no memory.ksm.weight");
	CHECK(cg_num(cg, "memory.ksm.weight") == 100, "the default is %s",
	      cg_get(cg, "memory.ksm.weight"));
	cg_set(cg, "memory.ksm.weight", "1");
	CHECK(cg_num(cg, "memory.ksm.weight") == 1, "1 became %s",
	      cg_get(cg, "memory.ksm.weight"));
	cg_set(cg, "memory.ksm.weight", "10000");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		int ret = cg_put(cg, "memory.ksm.weight", bad[i]);

		CHECK(ret == -EINVAL || ret == -ERANGE, "writing '%s' gives %d",
		      bad[i], ret);
		CHECK(cg_num(cg, "memory.ksm.weight") == 10000, "'%s' made it %s",
		      bad[i], cg_get(cg, "memory.ksm.weight"));
	}
}

static void modes(void)
{
	static const struct {
		const char *file;
		mode_t mode;
	} want[] = {
		{ "memory.ksm", 0644 },
		{ "memory.ksm.domain", 0644 },
		{ "memory.ksm.effective", 0444 },
		{ "memory.ksm.stat", 0444 },
		{ "memory.ksm.weight", 0644 },
		{ "memory.ksm.scan", 0200 },
	};
	char path[256];
	const char *cg;
	struct stat st;
	size_t i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		snprintf(path, sizeof(path), "%s/%s", cg, want[i].file);
		if (stat(path, &st)) {
			/* scanning by weight and on demand can be absent */
			CHECK(i >= 4, "%s is missing", want[i].file);
			continue;
		}
		CHECK((st.st_mode & 0777) == want[i].mode, "%s has mode %o",
		      want[i].file, st.st_mode & 0777);
	}
	CHECK(cg_put(cg, "memory.ksm.effective", "1"), "effective takes a value");
	CHECK(cg_put(cg, "memory.ksm.stat", "1"), "stat takes a value");
}

/* Somebody who has no right to the directory has none to the files. */
static void strangers(void)
{
	struct w_cmd c = { .op = OP_PUT, .text = "1" };
	struct worker *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	w = w_new(cg);
	NEED(!W(w, .op = OP_UID, .a = { 1000 }), "no user 1000");
	snprintf(c.path, sizeof(c.path), "%s/memory.ksm", cg);
	CHECK(w_do(w, &c) == -EACCES, "a user may write a root's memory.ksm");
	CHECK(reads(cg, "memory.ksm", "inherit"), "and has changed it");
}

static void delegation(void)
{
	char list[4096];

	ksm_need_cgroup();
	if (file_get("/sys/kernel/cgroup/delegate", list, sizeof(list)) < 0)
		ksm_skip("no /sys/kernel/cgroup/delegate");
	CHECK(!strstr(list, "memory.ksm\n"), "memory.ksm goes to the delegate");
	CHECK(!strstr(list, "memory.ksm.domain"), "the domain goes to the delegate");
	CHECK(!strstr(list, "memory.ksm.weight"), "the weight goes to the delegate");
	if (cg_has(cg_new(NULL, "a"), "memory.ksm.scan"))
		CHECK(strstr(list, "memory.ksm.scan\n"),
		      "the delegate may not scan");
}

static void stat_file(void)
{
	char path[256], buf[4096], *line, *save;
	const char *cg;
	int seen[ARRAY_SIZE(stat_keys)] = { 0 };
	size_t i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	snprintf(path, sizeof(path), "%s/memory.ksm.stat", cg);
	NEED(file_get(path, buf, sizeof(buf)) > 0, "no %s", path);
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char key[64], rest;
		long long value;

		CHECK(sscanf(line, "%63s %lld%c", key, &value, &rest) == 2,
		      "not 'key value': %s", line);
		CHECK(value == 0, "a new cgroup has %s", line);
		for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
			seen[i] += !strcmp(key, stat_keys[i]);
	}
	for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
		CHECK(seen[i] == 1, "%s is there %d times", stat_keys[i], seen[i]);
	for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
		cg_stat(CGROOT, stat_keys[i]);
}

static void threaded(void)
{
	const char *cg, *t;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	/* not cg_new(): the controller must not be on below */
	t = cg_new(cg, "t");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(t, "cgroup.type", "threaded");
	CHECK(!cg_has(t, "memory.ksm"), "a threaded cgroup has memory.ksm");
	CHECK(!cg_has(t, "memory.ksm.stat"), "a threaded cgroup has the stat file");
	CHECK(cg_has(cg, "memory.ksm"), "its domain has lost memory.ksm");
	CHECK(cg_put(cg, "memory.ksm", "1") == 0, "or does not take a 1");
}

static void controller_back(void)
{
	const char *cg, *child;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	child = cg_new(cg, "b");
	cg_set(child, "memory.ksm", "1");
	cg_set(child, "memory.ksm.domain", "parent");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	CHECK(!cg_has(child, "memory.ksm"), "the file stays without controller");
	cg_set(cg, "cgroup.subtree_control", "+memory");
	CHECK(reads(child, "memory.ksm", "inherit"), "came back with %s",
	      cg_get(child, "memory.ksm"));
	CHECK(reads(child, "memory.ksm.domain", "self"), "came back with %s",
	      cg_get(child, "memory.ksm.domain"));

	/* io keeps the memory controller alive, out of sight: it is reset */
	if (cg_put(CGROOT, "cgroup.subtree_control", "+io") ||
	    cg_put(cg, "../cgroup.subtree_control", "+io") ||
	    cg_put(cg, "cgroup.subtree_control", "+io"))
		return;
	cg_set(child, "memory.ksm", "0");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(cg, "cgroup.subtree_control", "+memory");
	CHECK(reads(child, "memory.ksm", "inherit"), "was not reset: %s",
	      cg_get(child, "memory.ksm"));
}

static void scan_values(void)
{
	static const char * const bad[] = { "x", "-1", "1Q", "\n", "1M 1M" };
	const char *cg;
	size_t i;
	int ret;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	if (!cg_has(cg, "memory.ksm.scan"))
		ksm_skip("this kernel has no memory.ksm.scan");
	cg_set(cg, "memory.ksm", "1");
	w_dup(cg, 16, 7, 0);
	ksm_set("run", 1);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ret = cg_put(cg, "memory.ksm.scan", bad[i]);
		CHECK(ret == -EINVAL, "'%s' gives %d", bad[i], ret);
	}
	ret = cg_put(cg, "memory.ksm.scan", "max");
	CHECK(!ret, "'max' gives %d", ret);
	ret = cg_put(cg, "memory.ksm.scan", "1M");
	CHECK(!ret, "'1M' gives %d", ret);
	ksm_stop();
	ret = cg_put(cg, "memory.ksm.scan", "max");
	CHECK(ret == -EAGAIN, "with run=0 it gives %d", ret);
	ksm_set("run", 1);
	cg_set(cg, "memory.ksm", "0");
	ret = cg_put(cg, "memory.ksm.scan", "max");
	CHECK(ret == -EAGAIN, "under a 0 it gives %d", ret);
}

static const struct ksm_case cases[] = {
	{ "a new cgroup inherits, in a domain of its own kind", defaults },
	{ "what is written to memory.ksm is read back", read_back },
	{ "other values are EINVAL and change nothing", bad_values },
	{ "0 wins on the path, else the nearest value", path_rule },
	{ "the root: madvise at first, never inherit", root_file },
	{ "memory.ksm.domain takes self and parent only", domain_values },
	{ "memory.ksm.weight takes 1 to 10000", weight_values },
	{ "modes of the files", modes },
	{ "strangers cannot write", strangers },
	{ "what a delegate gets", delegation },
	{ "memory.ksm.stat has every key once, zero at first", stat_file },
	{ "threaded cgroups have none of the files", threaded },
	{ "a controller that comes back brings defaults", controller_back },
	{ "memory.ksm.scan: sizes, and when it is refused", scan_values },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
