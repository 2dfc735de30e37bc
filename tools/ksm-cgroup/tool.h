/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all parts of the tool use: messages, sizes, and files that are read
 * below a root directory.
 */
#ifndef KSM_TOOL_H
#define KSM_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define __printf(a, b) __attribute__((\
	__format__(printf, a, b)))

#define SYSFS_KSM "/sys/kernel/mm/ksm"

/* As in util-linux: done, not done, asked for in a wrong way. */
enum exit_status { STATUS_OK, STATUS_FAILED, STATUS_USAGE };

/*
 * What a file was opened for, as an errno means different things there.
 * @USE_UNCHANGED is a setting that has its old value.
 */
enum file_use {
	USE_READ,
	USE_SETTING,
	USE_NAME,
	USE_UNCHANGED,
	USE_SCAN,
	USE_PROCESS,
};

/* message.c */
void complain(const char *format, ...) __printf(1, 2);
void complain_file(const char *path, enum file_use use, int error);
const char *errno_advice(enum file_use use, int error);
int usage_error(const char *format, ...) __printf(1, 2);

/* size.c */
int parse_size(const char *text, long long *bytes);
int parse_number(const char *text, long long low, long long high,
		 long long *number);
const char *human_size(char *buf, size_t size, long long bytes);
void *xalloc(size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) __printf(1, 2);
long page_bytes(void);

/* root.c */
bool root_recorded(void);
int root_open(const char *path, int flags);
FILE *root_fopen(const char *path);
bool root_exists(const char *path);
ssize_t read_at(int dir, const char *name, char *buf, size_t size);
int read_number_at(int dir, const char *name, long long *number);
ssize_t root_read(const char *path, char *buf, size_t size);
int root_number(const char *path, long long *number);
bool find_key(const char *text, const char *key, char *value, size_t size);
bool has_word(const char *text, const char *word);
const char *cgroup_mount(void);
bool cgroup_file(char *buf, size_t size, const char *cgroup, const char *file);

/* One function for each command. They return an exit status. */
int cmd_list(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_weight(int argc, char **argv);
int cmd_domain(int argc, char **argv);
int cmd_types(int argc, char **argv);
int cmd_scan(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_features(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_estimate(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_top(int argc, char **argv);

#endif /* KSM_TOOL_H */
