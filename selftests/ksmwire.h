/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between a test and its workers: one struct w_cmd there, one struct w_reply
 * back, over a sequenced-packet socket that the worker opens to the test.
 */
#ifndef KSMWIRE_H
#define KSMWIRE_H

struct w_reply {
	long ret;		/* >= 0, or -errno */
};

int w_connect(const char *name);

#endif
