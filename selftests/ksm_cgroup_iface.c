// SPDX-License-Identifier: GPL-2.0
/*
 * The files memory.ksm, .effective, .domain, .weight, .scan and .stat as files:
 * which values they take and return, what they refuse, their permissions, and
 * how the values on a path make up the effective one. ksm_cgroup_types.c has
 * the values of .types.
 *
 * - a written value is read back; a refused one changes nothing
 * - a 0 anywhere on the path wins, otherwise the nearest value that is not
 *   inherit decides; the root starts with madvise and cannot inherit
 * - threaded cgroups have none of the files; a controller that is disabled and
 *   enabled again brings the defaults
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
	"pages_unshared", "pages_volatile", "pages_foreign", "pages_pending",
	"pages_saved", "ksm_metadata_bytes", "general_profit", "processes",
	"pages_scanned", "pages_skipped", "pages_merged", "pages_unmerged",
	"cow_breaks", "merge_failures", "scan_usec", "full_scans",
};

static void defaults(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);

	CHECK_STR(cg_get(cg, "memory.ksm"), "inherit");
	CHECK_STR(cg_get(cg, "memory.ksm.effective"),
		  cg_get(CGROOT, "memory.ksm"));
	CHECK_STR(cg_get(cg, "memory.ksm.domain"), "self");
}

static void read_back(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	char line[16];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		for (j = 0; j < ARRAY_SIZE(values); j++) {
			cg_set(cg, "memory.ksm", values[i]);
			CHECK_STR(cg_get(cg, "memory.ksm"), values[i]);
			/* as echo writes it, and a second time */
			snprintf(line, sizeof(line), "%s\n", values[j]);
			cg_set(cg, "memory.ksm", line);
			cg_set(cg, "memory.ksm", line);
			CHECK_STR(cg_get(cg, "memory.ksm"), values[j]);
		}
	}
}

static void bad_values(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	char effective[16];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		cg_set(cg, "memory.ksm", values[i]);
		snprintf(effective, sizeof(effective), "%s",
			 cg_get(cg, "memory.ksm.effective"));
		for (j = 0; j < ARRAY_SIZE(refused); j++) {
			CHECK_EQ(cg_put(cg, "memory.ksm", refused[j]), -EINVAL,
				 "'%s'", refused[j]);
			CHECK_STR(cg_get(cg, "memory.ksm"), values[i],
				  "after '%s'", refused[j]);
			CHECK_STR(cg_get(cg, "memory.ksm.effective"), effective,
				  "after '%s'", refused[j]);
		}
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

/* All 64 assignments to a path of three; each level is read each time. */
static void check_path(const char *root, const char **cg)
{
	int n, level, v[3];

	for (n = 0; n < 64; n++) {
		v[0] = n & 3;
		v[1] = n >> 2 & 3;
		v[2] = n >> 4;
		/* bottom up and top down must give the same */
		for (level = 0; level < 3; level++) {
			int l = n & 1 ? 2 - level : level;

			cg_set(cg[l], "memory.ksm", values[v[l]]);
		}
		for (level = 0; level < 3; level++) {
			CHECK_STR(cg_get(cg[level], "memory.ksm.effective"),
				  expected(root, level + 1, v),
				  "%s over %s/%s/%s, level %d", root,
				  values[v[0]], values[v[1]], values[v[2]],
				  level);
			CHECK_STR(cg_get(cg[level], "memory.ksm"),
				  values[v[level]], "level %d", level);
		}
	}
}

static void make_path(const char **cg)
{
	cg[0] = cg_ksm(NULL, "a", NULL);
	cg[1] = cg_new(cg[0], "b");
	cg[2] = cg_new(cg[1], "c");
}

static void path_rule(void)
{
	const char *cg[3];

	make_path(cg);
	check_path("madvise", cg);
}

static void root_file(void)
{
	const char *cg[3];
	size_t i;

	ksm_need_cgroup();
	CHECK_STR(cg_get(CGROOT, "memory.ksm"), "madvise", "at the start");
	CHECK_EQ(cg_put(CGROOT, "memory.ksm", "inherit"), -EINVAL);
	for (i = 0; i < ARRAY_SIZE(refused); i++)
		CHECK_EQ(cg_put(CGROOT, "memory.ksm", refused[i]), -EINVAL,
			 "'%s'", refused[i]);
	CHECK_STR(cg_get(CGROOT, "memory.ksm"), "madvise", "at last");

	make_path(cg);
	for (i = 1; i < ARRAY_SIZE(values); i++) {
		cg_set(CGROOT, "memory.ksm", values[i]);
		CHECK_STR(cg_get(CGROOT, "memory.ksm"), values[i]);
		check_path(values[i], cg);
	}
	cg_set(CGROOT, "memory.ksm", "madvise");
}

#define NAME_63	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"

static void domain_values(void)
{
	static const char * const bad[] = {
		"\n", "0", "1", "root", "Self", "selfish", "parents",
		"self parent", "@", "@ ", "@\n", "@a b", "@a@b", "@@a", "@a/b",
		"@a:b", "@a\nb", "@a,b", "@caf\xc3\xa9", "@\xe9", "@a\x7f", "a@",
		"shop", "self@a", "@" NAME_63 "x",
	};
	static const char * const good[] = {
		"parent", "self", "@a", "@kube-system", "@.", "@-", "@_",
		"@A.b_c-9", "@" NAME_63,
	};
	const char *cg = cg_ksm(NULL, "a", NULL), *want;
	char line[80];
	size_t i, j;

	for (i = 0; i < 2 * ARRAY_SIZE(good); i++) {
		want = good[i / 2];
		/* as echo writes it, too */
		snprintf(line, sizeof(line), "%s%s", want, i % 2 ? "\n" : "");
		cg_set(cg, "memory.ksm.domain", line);
		CHECK_STR(cg_get(cg, "memory.ksm.domain"), want);
		for (j = 0; j < ARRAY_SIZE(bad); j++)
			CHECK_EQ(cg_put(cg, "memory.ksm.domain", bad[j]),
				 -EINVAL, "'%s'", bad[j]);
		CHECK_STR(cg_get(cg, "memory.ksm.domain"), want,
			  "after refused values");
		CHECK_STR(cg_get(cg, "memory.ksm"), "inherit");
	}
}

static void weight_values(void)
{
	static const char * const bad[] = {
		"0", "10001", "-1", "x", "1.5", "\n"
	};
	const char *cg = cg_ksm(NULL, "a", NULL);
	size_t i;

	cg_need(cg, "memory.ksm.weight");
	CHECK_EQ(cg_num(cg, "memory.ksm.weight"), 100, "the default");
	cg_set(cg, "memory.ksm.weight", "1");
	CHECK_EQ(cg_num(cg, "memory.ksm.weight"), 1);
	cg_set(cg, "memory.ksm.weight", "10000");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		int ret = cg_put(cg, "memory.ksm.weight", bad[i]);

		CHECK(ret == -EINVAL || ret == -ERANGE, "writing '%s' gives %d",
		      bad[i], ret);
		CHECK_EQ(cg_num(cg, "memory.ksm.weight"), 10000, "after '%s'",
			 bad[i]);
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
		{ "memory.ksm.types", 0644 },
		{ "memory.ksm.weight", 0644 },
		{ "memory.ksm.scan", 0200 },
	};
	const char *cg = cg_ksm(NULL, "a", NULL);
	char path[256];
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		snprintf(path, sizeof(path), "%s/%s", cg, want[i].file);
		if (stat(path, &st)) {
			/* scanning by weight and on demand can be absent */
			CHECK(i >= 5, "%s is missing", want[i].file);
			continue;
		}
		CHECK((st.st_mode & 0777) == want[i].mode, "%s has mode %o",
		      want[i].file, st.st_mode & 0777);
	}
	CHECK_NE(cg_put(cg, "memory.ksm.effective", "1"), 0);
	CHECK_NE(cg_put(cg, "memory.ksm.stat", "1"), 0);
}

/* A user without permission for the directory has none for the files. */
static void strangers(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *w = w_new(cg);
	char path[256];

	w_setuid(w, 1000);
	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	CHECK_EQ(w_put(w, path, "1"), -EACCES);
	CHECK_STR(cg_get(cg, "memory.ksm"), "inherit");
}

static void delegation(void)
{
	char list[4096];

	ksm_need_cgroup();
	if (file_get("/sys/kernel/cgroup/delegate", list, sizeof(list)) < 0)
		ksm_skip("no /sys/kernel/cgroup/delegate");
	CHECK(!strstr(list, "memory.ksm\n"), "memory.ksm is delegated");
	CHECK(!strstr(list, "memory.ksm.domain"), "the domain is delegated");
	CHECK(!strstr(list, "memory.ksm.types"), "the types are delegated");
	CHECK(!strstr(list, "memory.ksm.weight"), "the weight is delegated");
	if (cg_has(cg_new(NULL, "a"), "memory.ksm.scan"))
		CHECK(strstr(list, "memory.ksm.scan\n"),
		      "memory.ksm.scan is not delegated");
}

static void stat_file(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	char path[256], buf[4096], *line, *save;
	int seen[ARRAY_SIZE(stat_keys)] = { 0 };
	size_t i;

	snprintf(path, sizeof(path), "%s/memory.ksm.stat", cg);
	NEED_GT(file_get(path, buf, sizeof(buf)), 0, "%s", path);
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char key[64], rest;
		long long value;

		CHECK(sscanf(line, "%63s %lld%c", key, &value, &rest) == 2,
		      "not 'key value': %s", line);
		CHECK_EQ(value, 0, "%s of a new cgroup", key);
		for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
			seen[i] += !strcmp(key, stat_keys[i]);
	}
	for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
		CHECK_EQ(seen[i], 1, "lines of %s", stat_keys[i]);
	for (i = 0; i < ARRAY_SIZE(stat_keys); i++)
		cg_stat(CGROOT, stat_keys[i]);
}

static void threaded_cgroup(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL), *t;

	t = cg_new(cg, "t");
	/* a threaded cgroup cannot have the controller */
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(t, "cgroup.type", "threaded");
	CHECK(!cg_has(t, "memory.ksm"), "a threaded cgroup has memory.ksm");
	CHECK(!cg_has(t, "memory.ksm.stat"),
	      "a threaded cgroup has memory.ksm.stat");
	CHECK(cg_has(cg, "memory.ksm"), "its domain has lost memory.ksm");
	CHECK_OK(cg_put(cg, "memory.ksm", "1"));
}

static void controller_back(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL), *child;

	child = cg_ksm(cg, "b", "1");
	cg_set(child, "memory.ksm.domain", "parent");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	CHECK(!cg_has(child, "memory.ksm"), "it stays without the controller");
	cg_set(cg, "cgroup.subtree_control", "+memory");
	CHECK_STR(cg_get(child, "memory.ksm"), "inherit");
	CHECK_STR(cg_get(child, "memory.ksm.domain"), "self");

	/* io keeps the memory controller alive, but hidden: it is reset */
	if (cg_put(CGROOT, "cgroup.subtree_control", "+io") ||
	    cg_put(cg, "../cgroup.subtree_control", "+io") ||
	    cg_put(cg, "cgroup.subtree_control", "+io"))
		return;
	cg_set(child, "memory.ksm", "0");
	cg_set(child, "memory.ksm.types", "+zero");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(cg, "cgroup.subtree_control", "+memory");
	CHECK_STR(cg_get(child, "memory.ksm"), "inherit", "hidden");
	CHECK_STR(cg_get(child, "memory.ksm.types"), "inherit", "hidden");
}

static void scan_values(void)
{
	static const char * const bad[] = { "x", "-1", "1Q", "\n", "1M 1M" };
	const char *cg = cg_ksm(NULL, "a", "1");
	size_t i;

	cg_need(cg, "memory.ksm.scan");
	w_dup(cg, 16, 7, 0);
	ksm_start();
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(cg_put(cg, "memory.ksm.scan", bad[i]), -EINVAL,
			 "'%s'", bad[i]);
	cg_scan(cg, "max");
	cg_scan(cg, "1M");
	ksm_stop();
	CHECK_EQ(cg_put(cg, "memory.ksm.scan", "max"), -EAGAIN, "stopped");
	ksm_start();
	cg_set(cg, "memory.ksm", "0");
	CHECK_EQ(cg_put(cg, "memory.ksm.scan", "max"), -EAGAIN, "under a 0");
}

static const struct ksm_case cases[] = {
	{ "a new cgroup inherits, and its domain is self", defaults },
	{ "a value written to memory.ksm is read back", read_back },
	{ "other values are EINVAL and change nothing", bad_values },
	{ "0 wins on the path, else the nearest value", path_rule },
	{ "the root: madvise at first, never inherit", root_file },
	{ "memory.ksm.domain takes self, parent and names only", domain_values },
	{ "memory.ksm.weight takes 1 to 10000", weight_values },
	{ "modes of the files", modes },
	{ "users without permission cannot write", strangers },
	{ "which files are delegated", delegation },
	{ "memory.ksm.stat has every key once, zero at first", stat_file },
	{ "threaded cgroups have none of the files", threaded_cgroup },
	{ "a controller enabled again brings the defaults", controller_back },
	{ "memory.ksm.scan: sizes and refusals", scan_values },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
