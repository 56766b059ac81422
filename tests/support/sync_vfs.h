/* sync_vfs.h - sees, and can make fail, what SQLite puts on stable storage; and when it removes a log. */
#ifndef TKS_TESTS_SUPPORT_SYNC_VFS_H
#define TKS_TESTS_SUPPORT_SYNC_VFS_H

#include <stdint.h>

/* Every database opened from now on in this process is watched. */
void sync_vfs_install(void);

/* Syncs of write-ahead logs, and of databases, so far. */
uint64_t sync_vfs_wal_syncs(void);
uint64_t sync_vfs_db_syncs(void);

/* The next `count` syncs of write-ahead logs fail (SQLITE_IOERR_FSYNC) after the bytes were written. */
void sync_vfs_fail_wal(uint64_t count);

/* Calls this once, when SQLite next looks for a write-ahead log that it has removed: between leaving WAL mode and noting so. */
void sync_vfs_when_wal_is_gone(void (*call)(void));

#endif
