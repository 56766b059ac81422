/* forks.h - where a store may be opened.
 *
 * A child that was forked while a store was open inherits SQLite as the store's threads left it at that instant: its global locks
 * may be held by threads that the child does not have (every further use waits for ever), and its list of open files
 * claims file locks that the child does not have (a reader would read beneath the parent's checkpoints). Nothing can put that right
 * but exec, so such a child, and its children, open nothing.
 *
 * It also inherits the descriptors of the stores' locks, which hold as long as any process has one. It lets go of them at once: when the
 * writer dies, children that live on must not keep the next one from opening the store. */
#ifndef TKS_BASE_FORKS_H
#define TKS_BASE_FORKS_H

#include <stdbool.h>

/* Before a store is opened: true notes that one is open from now on, false means that this process may open none. */
bool tks__forks_open(void);

/* It is closed, or opening it failed. */
void tks__forks_close(void);

/* The descriptor of a lock: children that are forked before it is forgotten close theirs. So forget it before it is closed. Beyond some
 * dozens children keep them. */
void tks__forks_note_lock(int fd);
void tks__forks_forget_lock(int fd);

#endif
