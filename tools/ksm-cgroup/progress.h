/* SPDX-License-Identifier: GPL-2.0 */
/* A bar on the terminal for what takes its time; nothing where there is none. */
#ifndef KSM_PROGRESS_H
#define KSM_PROGRESS_H

#include <stdbool.h>

bool progress_wanted(void);
void progress_show(const char *label, double part);
void progress_end(void);

#endif /* KSM_PROGRESS_H */
