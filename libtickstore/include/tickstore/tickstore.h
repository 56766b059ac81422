/* SPDX-License-Identifier: Apache-2.0
 *
 * tickstore.h - the embedded capture store for market data.
 *
 * Read it from top to bottom: version, status codes, types, configuration, lifecycle, names, publishing,
 * reading, health. Everything in this header is available since 0.1 unless it says otherwise.
 *
 * Conventions that hold for every call:
 *
 *   Errors    A call returns 0 (TKS_OK), a negative TKS_E* code, or a positive note ("fine, but ..."). The last
 *             parameter is an optional, caller-owned tks_error; NULL is fine. It is written on negative returns
 *             only. There is no "last error" to fetch afterwards. A call that returns a negative code has had
 *             no effect and written no result unless its text says otherwise.
 *   Threads   Every call except tks_open and tks_close may be made from any thread at any time. tks_close may
 *             race with any other call: the other call either completes or returns TKS_ECLOSED.
 *   Memory    Results are copied into the caller's memory. Strings come in as pointer and length in bytes (no
 *             terminator needed), are UTF-8, and are never kept. Only tks_store and tks_cursor are handles.
 *   Blocking  "Never blocks" means: no system call, no disk, no wait for a reader. Other calls say what they
 *             wait for and what bounds the wait.
 *   Time      int64_t nanoseconds since 1970-01-01T00:00:00Z, names end in _ns.
 *   Signals   The library installs no handlers and blocks all signals in its own threads.
 *   fork      A child process must not use a store opened by its parent: every call answers TKS_EFORK there. So does
 *             tks_open in a child that was forked while a store was open, until it calls exec: SQLite's locks came
 *             with it as the parent's threads held them. Forked while none is open, it may open its own.
 */
#ifndef TICKSTORE_TICKSTORE_H
#define TICKSTORE_TICKSTORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(TKS_BUILD) && defined(__GNUC__)
#define TKS_API __attribute__((visibility("default")))
#else
#define TKS_API
#endif

/* ---------------------------------------------------------------- version */

#define TKS_VERSION_MAJOR 0
#define TKS_VERSION_MINOR 1
#define TKS_VERSION_PATCH 0

/* The version of the library that is loaded: major * 1000000 + minor * 1000 + patch. Never fails, never blocks. */
TKS_API uint32_t tks_version(void);

/* The same as text, "0.1.0". A static string. */
TKS_API const char *tks_version_string(void);

/* ----------------------------------------------------------- status codes */

/* X(name, value, message). Negative: refused or failed. Positive: done, but note. */
#define TKS_STATUS_MAP(X)                                                                        \
  X(OK, 0, "success")                                                                            \
  X(THROTTLED, 1, "skipped: repeats the last stored quote of its symbol and source")             \
  X(CROSSED_DROPPED, 2, "skipped: bid above ask, and the configuration drops crossed quotes")    \
  X(PARTIAL, 3, "some records of the array were not accepted")                                   \
  X(KEPT, 4, "closed; what is not written yet waits in the journal for the next open")           \
  X(EINVAL, -1, "invalid argument")                                                              \
  X(ENULL, -2, "a required pointer is NULL")                                                     \
  X(ENOMEM, -3, "out of memory")                                                                 \
  X(ECLOSED, -4, "the store is closed or closing")                                               \
  X(EFORK, -5, "the store was opened before fork and cannot be used in the child process")       \
  X(EREADONLY, -6, "the store is open for reading only")                                         \
  X(ELOCKED, -7, "another process or handle has this store open for writing")                    \
  X(EFORMAT, -8, "the store has a newer format than this library reads")                         \
  X(ENOTSTORE, -9, "no store at this path, or its store.json cannot be read")                    \
  X(EIO, -10, "input/output error")                                                              \
  X(EDISKFULL, -11, "no space left on the device")                                               \
  X(ETIMEOUT, -12, "the time limit ran out first")                                               \
  X(EQUEUEFULL, -13, "no room: the record is in the ring but will not be written")               \
  X(ENAMEEMPTY, -14, "the name is empty")                                                        \
  X(ENAMELONG, -15, "the name is longer than 64 bytes")                                          \
  X(ENAMECONTROL, -16, "the name contains a control character")                                  \
  X(ENAMEUTF8, -17, "the name is not valid UTF-8")                                               \
  X(ENAMEPATH, -18, "the name has . or .. as a path component")                                  \
  X(ESYMBOL, -19, "unknown symbol id")                                                           \
  X(ESOURCE, -20, "unknown source id")                                                           \
  X(ESIDES, -21, "both sides of the quote are absent")                                           \
  X(EPRICE, -22, "a price is infinite")                                                          \
  X(ESIZE, -23, "a size is negative or not finite")                                              \
  X(ETIME, -24, "the time is outside the accepted window")                                       \
  X(ECROSSED, -25, "bid above ask, and the configuration refuses crossed quotes")                \
  X(ELIMIT, -26, "the limit is zero, negative or too large")                                     \
  X(ETABLEFULL, -27, "the table of symbols or sources has reached its configured size")          \
  X(EDAYFILE, -28, "a day file is damaged, truncated or not a day file")                         \
  X(EDEADLINE, -29, "the read took longer than the read deadline")                               \
  X(ESTRUCT, -30, "a struct's size is not one this library knows, or its unknown tail is not 0") \
  X(ECONFIG, -31, "a configuration field is out of range")                                       \
  X(EUNWRITTEN, -32, "closed, but some accepted records could not be written")                   \
  X(ENOTFOUND, -33, "nothing is stored for this symbol")                                         \
  X(EINTERNAL, -34, "internal error, please report")

#define TKS_STATUS_ENUM_(name, value, message) TKS_##name = (value),
typedef enum tks_status { TKS_STATUS_MAP(TKS_STATUS_ENUM_) TKS_STATUS_MIN_ = -34 } tks_status;
#undef TKS_STATUS_ENUM_

/* The message of a code, a static string; "unknown status" for others. Never fails, never blocks. */
TKS_API const char *tks_strerror(int code);

/* What went wrong, in the caller's memory. 256 bytes. */
typedef struct tks_error {
  int32_t code;      /* the code that the call returned */
  int32_t detail;    /* SQLite's extended code or errno where one stood behind it, else 0 */
  char message[248]; /* one line, names the field and the value; always terminated */
} tks_error;

/* ------------------------------------------------------------------ quote */

#define TKS_NAME_MAX 64 /* bytes of a symbol's or source's name */

#define TKS_FLAG_CROSSED 0x1u          /* bid > ask; set by the store */
#define TKS_FLAG_USER_MASK 0xffff0000u /* the upper half is the caller's, stored and returned as given */

/* One top-of-book quote. 72 bytes; the layout is part of the ABI.
 *
 * Prices are stored and returned bit for bit (every NaN comes back as the one quiet NaN). NaN means that the
 * side is absent; one side must be present. Negative prices are legal, infinities are not. */
typedef struct tks_quote {
  int64_t ts_ns;     /* event time; decides the UTC day file. Must lie in the configured window. */
  int64_t recv_ns;   /* when the caller received it; 0 = not known. Not checked, stored as given. */
  uint64_t seq;      /* out: the store-wide sequence number; ignored by tks_put_quote */
  double bid;        /* price or NaN */
  double ask;        /* price or NaN */
  double bid_size;   /* >= 0; 0 = none or not known */
  double ask_size;   /* >= 0; 0 = none or not known */
  uint32_t symbol;   /* id from tks_symbol */
  uint32_t source;   /* id from tks_source; 0 = none */
  uint32_t flags;    /* TKS_FLAG_*; of what the caller sets, only TKS_FLAG_USER_MASK is kept */
  uint32_t reserved; /* 0 */
} tks_quote;

/* ---------------------------------------------------------- configuration */

/* What a store persists to; TKS_DUAL is both. */
#define TKS_SQLITE 0x1u
#define TKS_JSON 0x2u
#define TKS_DUAL 0x3u

typedef enum tks_preset {
  TKS_PRESET_PRODUCTION = 0,  /* SQLite; every default below */
  TKS_PRESET_MIGRATION = 1,   /* SQLite and JSON, the rest as in production */
  TKS_PRESET_DEVELOPMENT = 2, /* JSON, rings of 1,000, flush every 500 ms, log level debug */
} tks_preset;

/* What put does when all of journal_bytes is in use or the journal cannot be extended; without it, when the queue is full. */
typedef enum tks_queue_policy {
  TKS_QUEUE_DROP = 0,  /* keep it in the ring only, count it, return TKS_EQUEUEFULL */
  TKS_QUEUE_BLOCK = 1, /* wait up to block_limit_ms for room, then as above */
} tks_queue_policy;

/* What put does with bid > ask. */
typedef enum tks_crossed_policy {
  TKS_CROSSED_KEEP = 0,   /* store it, with TKS_FLAG_CROSSED */
  TKS_CROSSED_DROP = 1,   /* skip it, count it, return TKS_CROSSED_DROPPED */
  TKS_CROSSED_REFUSE = 2, /* return TKS_ECROSSED */
} tks_crossed_policy;

/* How hard SQLite commits. See docs/durability.md. */
typedef enum tks_synchronous {
  TKS_SYNC_NORMAL = 1, /* a commit survives the death of the process; power loss may take what came after the
                          last sync (every sync_interval_ms) */
  TKS_SYNC_FULL = 2,   /* a commit survives power loss */
} tks_synchronous;

typedef enum tks_log_level {
  TKS_LOG_DEBUG = 0,
  TKS_LOG_INFO = 1,
  TKS_LOG_WARN = 2,
  TKS_LOG_ERROR = 3,
  TKS_LOG_OFF = 4,
} tks_log_level;

/* Called from the library's own threads and from the caller's; must not call back into the store. `message` is
 * one line without a line end, terminated, valid during the call. */
typedef void (*tks_log_fn)(void *context, int32_t level, const char *message, size_t length);

/* Every limit and default. Fill with tks_config_init, change what differs, hand to tks_open, which copies it.
 * The defaults named here are those of TKS_PRESET_PRODUCTION. */
typedef struct tks_config {
  uint32_t struct_size; /* sizeof(tks_config) as the caller was compiled; set by tks_config_init */
  uint32_t backend;     /* TKS_SQLITE, TKS_JSON or TKS_DUAL. Default TKS_SQLITE */
  uint32_t read_only;   /* 1: open an existing store for reading beside its writer. Default 0 */

  /* rings and queue */
  uint32_t ring_records;      /* quotes kept in memory per symbol, 1 to 16,777,216. Default 10,000 */
  uint32_t queue_records;     /* without the journal: between put and the writer, 16 to 16,777,216. Default 10,000 */
  uint32_t queue_policy;      /* tks_queue_policy. Default TKS_QUEUE_DROP */
  uint32_t block_limit_ms;    /* longest wait of one put under TKS_QUEUE_BLOCK, 1 to 3,600,000. Default 1,000 */
  uint32_t batch_records;     /* the writer is woken at this many, 1 to queue_records. Default 500 */
  uint32_t flush_interval_ms; /* and at the latest after this, 1 to 3,600,000. Default 5,000 */
  uint32_t backlog_records;   /* without the journal: how many more may wait for a slow or sick sink, 0 to
                               268,435,456. Default 1,000,000 */

  /* throttle of repeats */
  uint32_t throttle_max_age_ms; /* let a repeat through when the last stored one is older; 0 = never. Default 0 */
  uint32_t reserved0;           /* 0 */
  double throttle_relative;     /* skip a quote neither of whose prices moved by this share; 0 = exact repeats
                                   only, negative = off. Default 0.00001 (0.001 %) */

  /* validation */
  uint32_t crossed_policy; /* tks_crossed_policy. Default TKS_CROSSED_KEEP */
  uint32_t max_symbols;    /* 1 to 16,777,216. Default 1,000,000 */
  uint32_t max_sources;    /* 1 to 65,535. Default 65,535 */
  uint32_t max_ahead_s;    /* event times later than now by more are refused (when the clock is set back: within a
                              minute). Default 86,400 (a day) */
  int64_t min_time_ns;     /* event times before it are refused, 1677-09-22 or later. Default 1990-01-01 */

  /* writer */
  uint32_t retry_attempts;    /* of a failed batch before the sink is degraded, 0 to 100. Default 3 */
  uint32_t retry_pause_ms;    /* before the first retry; doubles each time, 1 to 60,000. Default 100 */
  uint32_t degraded_retry_ms; /* between tries of a degraded sink, 1 to 3,600,000. Default 5,000 */
  uint32_t sync_interval_ms;  /* how often what its commit does not sync is synced (JSON, and SQLite under
                                TKS_SYNC_NORMAL), 1 to 3,600,000. Default 1,000 */
  uint32_t close_limit_ms;    /* longest time that tks_close goes on trying to write, 0 to 86,400,000. Default 30,000 */
  uint32_t late_close_s;      /* a past day's file is sealed after this long without a late tick, 1 to 86,400.
                                Default 300 */
  uint32_t max_open_days;     /* day files open for writing at once, 1 to 64. Default 4 */

  /* SQLite */
  uint32_t synchronous;       /* tks_synchronous. Default TKS_SYNC_FULL */
  uint32_t checkpoint_pages;  /* WAL pages between checkpoints, 1 to 1,000,000. Default 1,000 */
  uint32_t busy_timeout_ms;   /* 0 to 3,600,000. Default 5,000 */
  uint32_t temp_store_memory; /* 1: temporary tables in memory, 0: in files. Default 1 */
  uint32_t reserved1;         /* 0 */
  uint64_t page_cache_bytes;  /* of the writing connection, 65,536 to 2^36. Default 64 MiB */
  uint64_t mmap_bytes;        /* of reading connections, 0 = off, up to 2^40. Default 256 MiB */

  /* readers */
  uint32_t read_connections;  /* open at once, 1 to 1,000. Default 5 */
  uint32_t connection_life_s; /* reopened when older, 1 to 86,400. Default 3,600 */
  uint32_t read_deadline_ms;  /* longest one read transaction, 1 to 3,600,000. Default 10,000 */

  /* log: filtered here, printed nowhere unless log is set */
  uint32_t log_level; /* tks_log_level. Default TKS_LOG_WARN */
  tks_log_fn log;     /* NULL = no log. Default NULL */
  void *log_context;  /* handed to log */

  /* JSON */
  const char *broker_id; /* the broker_id of JSON lines, up to 64 bytes, copied by tks_open. Default "default" */
  uint64_t broker_id_length;

  /* journal: see docs/durability.md */
  uint32_t journal;         /* 1: what put accepts is in memory-mapped files of ROOT/journal before put returns, and
                               waits there for as long as a sink lacks it. 0: in memory only. Default 1 */
  uint32_t journal_sync_ms; /* how often the journal is synced, so the most that power loss takes; 0 = never,
                               up to 3,600,000. Default 1,000 */
  uint64_t journal_bytes;   /* the most that it takes on disk, 1 MiB to 2^40, and two files more
                               (up to 2 MiB each) where an earlier session left as much; when
                               all of it is in use, queue_policy applies. Default 1 GiB */
} tks_config;

/* Fills `config` with a preset. `size` is the caller's sizeof(tks_config): fields beyond it are not touched.
 * Codes: TKS_ENULL, TKS_ESTRUCT (size), TKS_EINVAL (preset). Never blocks. */
TKS_API int tks_config_init(tks_config *config, size_t size, int preset, tks_error *error);

/* -------------------------------------------------------------- lifecycle */

typedef struct tks_store tks_store;

/* Opens or creates the store in directory `path`. `config` may be NULL: production defaults.
 * With read_only, the store must exist, and nothing of it is changed; SQLite makes its -shm beside a day that is being written.
 * On success *store is the handle, else NULL. The directory belongs to one writing process at a time, guarded by an
 * open-file-description lock on ROOT/lock. Blocks on disk.
 * Codes: TKS_ENULL, TKS_EINVAL (path), TKS_ESTRUCT, TKS_ECONFIG, TKS_ELOCKED, TKS_EFORMAT, TKS_ENOTSTORE, TKS_EIO,
 * TKS_EDISKFULL, TKS_ENOMEM, TKS_ETABLEFULL (max_symbols or max_sources is less than a crash left in the journal), TKS_EFORK (see fork
 * above). */
TKS_API int tks_open(const char *path, size_t path_length, const tks_config *config, tks_store **store,
                     tks_error *error);

/* Refuses new calls, waits for those in flight, writes all that was accepted, syncs, seals and closes.
 * Waits at most close_limit_ms for sick sinks, and for the call that one of them is in: up to busy_timeout_ms where
 * somebody else has locked a day file, or as long as a disk hangs. The handle is invalid for use but stays safe to
 * call: every call answers TKS_ECLOSED (a closed handle keeps about 2 KB for the life of the process). Cursors left open answer
 * TKS_ECLOSED and still want tks_cursor_close.
 * Returns TKS_KEPT when a sink still lacks records and they wait in the journal: the next open goes on with them.
 * Codes: TKS_ENULL, TKS_ECLOSED (a second close), TKS_EFORK, TKS_EUNWRITTEN (closed all the same, but a sink has lost
 * records since tks_open; without the journal also what could not be written in time. The message says how many),
 * TKS_EIO (closed all the same, but records were lost and the gap ledger could not be written: only the log names them). */
TKS_API int tks_close(tks_store *store, tks_error *error);

/* Waits until every record accepted before the call is durable in every sink, at most timeout_ms (0: only asks;
 * -1: no limit). Codes: TKS_ETIMEOUT, with the sink and its last error in the message; TKS_EUNWRITTEN: done waiting,
 * but a sink has lost some of them (see tks_stats); TKS_EINVAL (timeout_ms below -1), TKS_EREADONLY, TKS_ECLOSED. */
TKS_API int tks_flush(tks_store *store, int64_t timeout_ms, tks_error *error);

/* *seq becomes the highest sequence number up to which every accepted record that was not reported lost is on
 * stable storage in every sink. Accepted is not durable: see docs/durability.md. Never blocks. */
TKS_API int tks_durable_seq(tks_store *store, uint64_t *seq, tks_error *error);

/* The same two for one sink, TKS_SQLITE or TKS_JSON. Codes: also TKS_EINVAL, when the store does not write to it. */
TKS_API int tks_sink_flush(tks_store *store, uint32_t sink, int64_t timeout_ms, tks_error *error);
TKS_API int tks_sink_durable_seq(tks_store *store, uint32_t sink, uint64_t *seq, tks_error *error);

/* ------------------------------------------------------------------ names */

/* Interns a symbol's name: *id is its id in this store handle, from 1 up, the same for the same bytes until the store is
 * closed. Ids are not kept across tks_open; names are. A new name may allocate and, with the journal, is written to its
 * names file (one write, no sync); a known one costs neither. Where that write fails (a full disk) the id is good for reading all
 * the same, but quotes with it are refused until the name could be written: see tks_put_quote.
 * Names are 1 to TKS_NAME_MAX bytes of UTF-8 without control characters (C0, DEL, C1) and without . or .. as a
 * component between slashes or backslashes; slashes themselves are fine (EUR/USD).
 * Codes: TKS_ENULL, TKS_ENAME*, TKS_ETABLEFULL, TKS_ENOMEM. */
TKS_API int tks_symbol(tks_store *store, const char *name, size_t length, uint32_t *id, tks_error *error);

/* The same for sources (liquidity providers, venues), which have ids of their own. */
TKS_API int tks_source(tks_store *store, const char *name, size_t length, uint32_t *id, tks_error *error);

/* The name of an id: copies up to `capacity` bytes without terminator, *length is the whole length.
 * TKS_NAME_MAX bytes always suffice. Codes: TKS_ENULL, TKS_ESYMBOL / TKS_ESOURCE. */
TKS_API int tks_symbol_name(tks_store *store, uint32_t id, char *name, size_t capacity, size_t *length,
                            tks_error *error);
TKS_API int tks_source_name(tks_store *store, uint32_t id, char *name, size_t capacity, size_t *length,
                            tks_error *error);

/* One symbol as it is stored. 96 bytes. */
typedef struct tks_symbol_info {
  uint64_t count;   /* quotes on disk and on their way there */
  int64_t first_ns; /* earliest and latest event time */
  int64_t last_ns;
  uint32_t id;
  uint32_t name_length;
  char name[TKS_NAME_MAX]; /* not terminated when 64 bytes long */
} tks_symbol_info;

/* Lists the symbols that have quotes, over all days, by name. Copies up to `capacity`, *total is how many there are (call
 * with capacity 0 to ask). Reads a small table of every day file. A damaged day is left out and makes the call return
 * TKS_EDAYFILE, with everything else filled in. TKS_ETABLEFULL: there are more than max_symbols. */
TKS_API int tks_symbols(tks_store *store, tks_symbol_info *symbols, size_t capacity, size_t *total, tks_error *error);

/* ------------------------------------------------------------- publishing */

/* Gives one quote to the store. Makes no system call in the common case; at the first record after idleness, and once for
 * many under load, it wakes one of the library's threads. It waits only where there is no room: under TKS_QUEUE_BLOCK up to
 * block_limit_ms; under TKS_QUEUE_DROP up to 2 s, and only while the next part of the journal is being prepared
 * (journal_stalls counts these waits). When 2 s were not enough, no put waits again until there was room: the disk hangs.
 * `quote` is copied. *seq (may be NULL) becomes its sequence number when accepted, 0 otherwise.
 * Returns TKS_OK; TKS_THROTTLED or TKS_CROSSED_DROPPED (not stored, by configuration);
 * TKS_ESYMBOL, TKS_ESOURCE, TKS_ESIDES, TKS_EPRICE, TKS_ESIZE, TKS_ETIME, TKS_ECROSSED (refused, no effect but
 * its counter); TKS_EDISKFULL, TKS_EIO (refused, and counted with symbol or source: its name could not be written into the journal, so
 * a crash would leave the quote to nobody; each further put of it tries again); TKS_EQUEUEFULL (in the ring and in tks_recent, has a sequence number, but is lost to the sinks and
 * counted so); TKS_ENOMEM (refused); TKS_EREADONLY, TKS_ECLOSED, TKS_EFORK, TKS_ENULL. */
TKS_API int tks_put_quote(tks_store *store, const tks_quote *quote, uint64_t *seq, tks_error *error);

/* What became of an array. */
typedef struct tks_put_result {
  uint64_t accepted;        /* have a sequence number and are on their way to the sinks */
  uint64_t throttled;       /* TKS_THROTTLED */
  uint64_t crossed_dropped; /* TKS_CROSSED_DROPPED */
  uint64_t refused;         /* any refusing code */
  uint64_t dropped;         /* TKS_EQUEUEFULL */
  uint64_t first_seq;       /* of the accepted ones, 0 if none; other threads' records may lie between */
  uint64_t last_seq;
  uint64_t first_bad;     /* index of the first refused or dropped one; meaningful if there is one */
  int32_t first_bad_code; /* and its code, 0 if there is none */
  int32_t reserved;
} tks_put_result;

/* Gives `count` quotes in order; never stops at a bad one. `codes` (may be NULL) is an array of `count` that receives
 * each one's code. `result` may be NULL. Returns TKS_OK, or TKS_PARTIAL when some were refused or dropped (the
 * error, if given, is filled for the first of them even so), or a negative code when the call as a whole
 * was refused. May block as tks_put_quote does, but under TKS_QUEUE_BLOCK, when it has waited for room in vain once, it does not wait
 * for the rest. */
TKS_API int tks_put_quotes(tks_store *store, const tks_quote *quotes, size_t count, int32_t *codes,
                           tks_put_result *result, tks_error *error);

/* Convenience: interns both names (source may be empty: none) and puts a quote without sizes. Codes: those of tks_symbol and
 * tks_put_quote; on TKS_EDISKFULL and TKS_EIO the names are interned, and the next call tries again to write them down. */
TKS_API int tks_put(tks_store *store, const char *symbol, size_t symbol_length, double bid, double ask,
                    const char *source, size_t source_length, int64_t ts_ns, uint64_t *seq, tks_error *error);

/* ---------------------------------------------------------------- reading */

#define TKS_MAX_RECORDS 0x7fffffffu /* the most that one call fills */
#define TKS_NO_LIMIT INT64_MAX
#define TKS_TIME_MIN INT64_MIN
#define TKS_TIME_MAX INT64_MAX

/* The last `n` quotes of a symbol, oldest first, newest last, into `quotes` (room for n); *count is how many there are.
 * They come from the ring, in order of arrival, without waiting for any writer. Where the ring ends, older ones come
 * from what is not yet written and from the day files, back over as many days as needed, in order of time; then this
 * call reads the disk. n is 1 to TKS_MAX_RECORDS.
 * Codes: TKS_ENULL, TKS_ESYMBOL, TKS_ELIMIT, and where it reads the disk those of tks_cursor_next (what the ring has is filled in). */
TKS_API int tks_recent(tks_store *store, uint32_t symbol, size_t n, tks_quote *quotes, size_t *count, tks_error *error);

/* The newest quote of a symbol: the last that arrived or, if none arrived since the store was opened, the last by
 * time on disk. Codes: as tks_recent, TKS_ENOTFOUND. */
TKS_API int tks_latest(tks_store *store, uint32_t symbol, tks_quote *quote, tks_error *error);

/* The same for every symbol that has one, ordered by id, up to `capacity`; *total is how many there are. The first call in a store that
 * is open for writing looks up on disk what has not arrived since it was opened; once that has succeeded, calls do not read the disk. */
TKS_API int tks_latest_all(tks_store *store, tks_quote *quotes, size_t capacity, size_t *total, tks_error *error);

#define TKS_RANGE_DESCENDING 0x1u

/* What to read. Zero it, set struct_size, and fill in. */
typedef struct tks_range {
  uint32_t struct_size; /* sizeof(tks_range) */
  uint32_t symbol;      /* id from tks_symbol */
  int64_t from_ns;      /* from <= ts_ns < to; TKS_TIME_MIN and TKS_TIME_MAX for no bound */
  int64_t to_ns;
  int64_t limit;   /* 1 to TKS_NO_LIMIT */
  uint32_t flags;  /* TKS_RANGE_DESCENDING: newest first */
  uint32_t source; /* only this source; 0 = all */
} tks_range;

typedef struct tks_cursor tks_cursor;

/* Opens a cursor over one symbol's quotes, ordered by event time then sequence, over any number of days. It sees exactly what was
 * accepted before the call, written or not, each record once, whatever happens while it is read. It holds no
 * snapshot, lock or connection between calls of tks_cursor_next, so it may stay open as long as you like.
 * Codes: TKS_ENULL, TKS_ESTRUCT, TKS_ESYMBOL, TKS_ESOURCE, TKS_ELIMIT, TKS_EINVAL (from after to, unknown flags), TKS_ENOMEM,
 * TKS_EIO. */
TKS_API int tks_range_open(tks_store *store, const tks_range *range, tks_cursor **cursor, tks_error *error);

/* Fills up to `capacity` (1 to TKS_MAX_RECORDS) quotes; *count is how many, 0 at the end. Blocks on disk and
 * for a reading connection, bounded by read_deadline_ms. One thread at a time per cursor.
 * On TKS_EDAYFILE and TKS_EFORMAT the message names the day and *count holds what came before it; the next call goes on with the
 * following day.
 * On TKS_EDEADLINE, TKS_EIO, TKS_EDISKFULL and TKS_ENOMEM *count quotes are valid and the next call goes on from there.
 * Codes: TKS_ENULL, TKS_ELIMIT, TKS_EDAYFILE, TKS_EFORMAT, TKS_EDEADLINE, TKS_EIO, TKS_EDISKFULL (SQLite needs a little room even to
 * read a day that is being written), TKS_ENOMEM, TKS_ETABLEFULL (no room for a source's name), TKS_ECLOSED, TKS_EFORK. */
TKS_API int tks_cursor_next(tks_cursor *cursor, tks_quote *quotes, size_t capacity, size_t *count, tks_error *error);

/* Frees the cursor; NULL is fine. May be called after tks_close. */
TKS_API void tks_cursor_close(tks_cursor *cursor);

/* The structs of the Arrow C data and stream interfaces (https://arrow.apache.org/docs/format/CDataInterface.html). They are only named
 * here; whoever reads such streams has their definition. */
struct ArrowArray;
struct ArrowArrayStream;

/* The same quotes as a cursor, as an Arrow stream: *out is filled and the caller's to release. Its batches have the columns
 *
 *   ts        timestamp[ns, UTC]
 *   symbol    dictionary<int32, utf8>
 *   bid, ask  double, null where the side is absent
 *   bid_size, ask_size  double, 0 = none or not known
 *   source    dictionary<int32, utf8>, null for none
 *   seq       uint64
 *   flags     uint32
 *   recv      timestamp[ns, UTC], null where not known
 *
 * and `chunk_records` rows each but for the last (1 to TKS_MAX_RECORDS; 0 = 65,536); memory grows with the rows that are really there.
 * Below a null stands NaN or INT64_MIN. A batch owns its memory: it and each of its columns may be kept, moved and released
 * on any thread, also after the stream, and after tks_close. A stream is for one thread at a time.
 *
 * get_next blocks as tks_cursor_next does. Its result is an errno; get_last_error begins with the status, as in
 * "TKS_EDAYFILE: ...". Rows that come before an error are handed out before it. After TKS_EDAYFILE, TKS_EDEADLINE and
 * TKS_ENOMEM it can be called again and goes on as a cursor would; after tks_close it answers TKS_ECLOSED.
 * Codes: those of tks_range_open, TKS_ELIMIT (chunk_records). On failure *out is marked released. */
TKS_API int tks_range_arrow(tks_store *store, const tks_range *range, uint32_t chunk_records,
                            struct ArrowArrayStream *out, tks_error *error);

/* The same for an array of quotes, from tks_recent or tks_latest_all: one batch with a copy of them, in their order.
 * Codes: TKS_ENULL, TKS_ELIMIT (more than TKS_MAX_RECORDS), TKS_ESYMBOL, TKS_ESOURCE, TKS_ENOMEM. */
TKS_API int tks_quotes_arrow(tks_store *store, const tks_quote *quotes, size_t count, struct ArrowArrayStream *out,
                             tks_error *error);

/* One more stream over `count` rows of a batch that one of the two calls above (or this one) made, from row `first` on, without a
 * copy: both hold the same memory, which goes with the last of them. The batch stays the caller's. NULL with no rows makes an
 * empty stream. Needs no store. Codes: TKS_ENULL, TKS_EINVAL (released, a single column, or not ours), TKS_ELIMIT, TKS_ENOMEM. */
TKS_API int tks_arrow_share(const struct ArrowArray *batch, uint64_t first, uint64_t count,
                            struct ArrowArrayStream *out, tks_error *error);

/* ----------------------------------------------------------------- health */

typedef enum tks_sink_state {
  TKS_SINK_OFF = 0,
  TKS_SINK_OK = 1,
  TKS_SINK_RETRYING = 2, /* the last batch failed and will be tried again shortly */
  TKS_SINK_DEGRADED = 3, /* retry_attempts used up; tried every degraded_retry_ms */
} tks_sink_state;

/* Upper bound of bucket i of a flush-time histogram, in microseconds: 64 << i; the last bucket has none. */
#define TKS_FLUSH_BUCKETS 18

/* One sink. For each: accepted + recovered by the store = written + backlog + lost + dropped. */
typedef struct tks_sink_stats {
  uint32_t sink;    /* TKS_SQLITE or TKS_JSON */
  uint32_t state;   /* tks_sink_state */
  uint64_t written; /* records handed to the sink and committed */
  uint64_t lost;    /* records it will never hold: see tks_gaps */
  uint64_t backlog; /* accepted, not yet written here */
  uint64_t batches; /* successful writes; one may hold many batch_records under load */
  uint64_t retries;
  uint64_t errors;
  uint64_t rotations;    /* past day files sealed */
  uint64_t written_seq;  /* all up to here is written or lost */
  uint64_t durable_seq;  /* all up to here is on stable storage or lost */
  uint64_t wal_bytes;    /* SQLite: of all open day files */
  uint64_t open_files;   /* day files or JSON files open for writing */
  int64_t last_error_ns; /* when; 0 = never */
  int32_t last_error_code;
  int32_t last_error_detail;
  uint64_t flush_time_sum_us; /* of all successful writes */
  uint64_t flush_time_max_us;
  uint64_t flush_time_buckets[TKS_FLUSH_BUCKETS]; /* how many took less than the bucket's bound; not cumulative */
  char last_error[128];
} tks_sink_stats;

/* The whole store since it was opened. received = accepted + throttled + crossed_dropped + refused. */
typedef struct tks_store_stats {
  uint32_t struct_size; /* sizeof(tks_store_stats); set before the call */
  uint32_t backend;
  uint64_t received;
  uint64_t accepted; /* got a sequence number; includes dropped */
  uint64_t throttled;
  uint64_t crossed_dropped;
  uint64_t refused; /* the sum of the following */
  uint64_t refused_symbol;
  uint64_t refused_source;
  uint64_t refused_sides;
  uint64_t refused_price;
  uint64_t refused_size;
  uint64_t refused_time;
  uint64_t refused_crossed;
  uint64_t refused_memory;
  uint64_t dropped;        /* no room: in the ring, lost to every sink */
  uint64_t blocked;        /* puts that had to wait for room */
  uint64_t held;           /* records in the journal (or queue), since some sink does not have them durably */
  uint64_t wakeups;        /* of the writer by put: system calls made by putting threads */
  uint64_t first_seq;      /* the first sequence number of this session */
  uint64_t last_seq;       /* the last one given out; first_seq - 1 if none */
  uint64_t durable_seq;    /* as tks_durable_seq */
  uint64_t durable_lag_ms; /* age of the oldest record that is not durable; 0 if all are */
  uint64_t symbols;        /* interned */
  uint64_t sources;
  uint64_t ring_records;     /* held in rings */
  uint64_t ring_bytes;       /* allocated for rings */
  uint64_t read_connections; /* open now */
  tks_sink_stats sinks[2];   /* SQLite, JSON; state TKS_SINK_OFF if not configured */
  uint64_t recovered;        /* found in the journal when the store was opened */
  uint64_t journal_bytes;    /* the journal's files on disk; 0 without a journal */
  uint64_t journal_seq;      /* all up to here is synced in the journal, or durable, or lost */
  uint64_t journal_stalls;   /* puts that waited for the next journal file to be prepared */
} tks_store_stats;

/* Cheap enough for every second; never waits for a disk. A read-only store has only zeros but for backend, symbols, sources
 * and read_connections. Codes: TKS_ENULL, TKS_ESTRUCT. */
TKS_API int tks_stats(tks_store *store, tks_store_stats *stats, tks_error *error);

/* Why records are missing. */
typedef enum tks_gap_cause {
  TKS_GAP_FULL = 1,     /* the journal (or queue) was full and queue_policy let them go */
  TKS_GAP_JOURNAL = 2,  /* the journal could not be extended: the disk was full, failed, or did not answer in time */
  TKS_GAP_BACKLOG = 3,  /* without the journal: a sick sink fell further behind than backlog_records */
  TKS_GAP_CLOSE = 4,    /* without the journal: not written when close_limit_ms was over */
  TKS_GAP_RECOVERY = 5, /* the journal that a crash left could not be read there */
  TKS_GAP_BACKEND = 6,  /* opened with a narrower backend: what the sink that is left out still lacked of an earlier
                           session's journal it may not get; records 0: not known. The row stays, though a later open
                           with that sink may have found them in the journal still */
} tks_gap_cause;

/* A run of losses that belong together: `records` of the numbers from from_seq to to_seq. Where there was room for a moment in between, or
 * the journal was damaged in several places, some between them may be sound. 72 bytes. */
typedef struct tks_gap {
  uint64_t from_seq; /* the first and the last one lost */
  uint64_t to_seq;
  uint64_t records; /* how many were lost; 0 = not known */
  int64_t first_ns; /* calendar time of the first and the last loss */
  int64_t last_ns;
  uint32_t cause;  /* tks_gap_cause */
  uint32_t sink;   /* TKS_SQLITE or TKS_JSON: missing there only; 0: in all */
  uint32_t symbol; /* id, when all are of one symbol; 0 = several or not known */
  uint32_t reserved;
  uint64_t reserved1[2];
} tks_gap;

/* The gap ledger: every loss since the store was made, in order of from_seq, from the one that reaches `since_seq` on (0: all). Copies
 * up to `capacity`, *total is how many there are (call with capacity 0 to ask). It lies in ROOT/gaps.db, table
 * gap and, for people, view gaps. Blocks on disk. Codes: TKS_ENULL, TKS_ENOMEM; TKS_EDAYFILE and TKS_EIO: the file could not be
 * read, because it is damaged, or locked by somebody for seconds; gaps and *total are filled in nonetheless, with what this
 * store lost and has not written down yet, and with what could be read. */
TKS_API int tks_gaps(tks_store *store, uint64_t since_seq, tks_gap *gaps, size_t capacity, size_t *total,
                     tks_error *error);

#define TKS_CHECK_QUICK 0x0u /* opens each file and reads its summary */
#define TKS_CHECK_FULL 0x1u  /* also every row: SQLite's integrity_check, counts against summaries, every JSON line */

/* One UTC day in one sink. */
typedef struct tks_day_info {
  int64_t day_ns; /* its midnight */
  uint32_t sink;  /* TKS_SQLITE or TKS_JSON */
  int32_t code;   /* TKS_OK, or what is wrong with it, a code of reading: TKS_EDAYFILE, TKS_EFORMAT, TKS_EIO ... */
  uint64_t count; /* quotes */
  uint64_t symbols;
  uint64_t files; /* 1 for SQLite; one per symbol for JSON */
  uint64_t bytes; /* of the files, WAL not included */
  uint64_t wal_bytes;
  uint64_t last_seq; /* highest sequence number in it */
  char message[152]; /* what is wrong, with the file's name; empty if nothing is */
} tks_day_info;

/* Lists the days on disk in order of time, SQLite before JSON, up to `capacity`; *total is how many there are. `check` is TKS_CHECK_*.
 * JSON counts cost reading the files, so they are 0 under TKS_CHECK_QUICK. Returns TKS_OK even where days are damaged: look at their
 * code. Blocks on disk. */
TKS_API int tks_days(tks_store *store, uint32_t check, tks_day_info *days, size_t capacity, size_t *total,
                     tks_error *error);

#ifdef __cplusplus
}
#endif

#endif /* TICKSTORE_TICKSTORE_H */
