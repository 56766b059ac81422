"""Bugs that are put back on purpose (scripts/mutants): trap or part, what, the edits, the tests that should find it.

The numbers are those of docs/reliability.md, "The traps". A test is FOLDER/NAME, as ctest calls it, and behind a colon the pattern of
Criterion's --filter, or of a Python test the cases. `limit` are seconds for one test, `env` its variables.
"""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SRC = "libtickstore/src/"
MUTANTS = []


def mutant(trap, title, file, old, new, *tests, more=(), **settings):
    """`more`: further (file, old, new)."""
    edits = [(SRC + f if (ROOT / SRC / f).exists() else f, o, n) for f, o, n in [(file, old, new), *more]]
    MUTANTS.append({"trap": str(trap), "title": title, "edits": edits, "tests": list(tests), **settings})


# ---------------------------------------------------------- losing or doubling data

UNIQUE_BY_MS = (
    ("persist/dayfile.c", '" PRIMARY KEY(symbol_id, ts_ms, ts_sub_ns, seq)) WITHOUT ROWID;"',
     '" PRIMARY KEY(symbol_id, ts_ms)) WITHOUT ROWID;"'),
    ("persist/dayfile.c", '"INSERT OR FAIL INTO quote(symbol_id,', '"INSERT OR IGNORE INTO quote(symbol_id,'),
)
mutant(1, "unique key on symbol and millisecond, INSERT OR IGNORE", *UNIQUE_BY_MS[0],
       "unit/dayfile:*/records_of_equal_time*", more=UNIQUE_BY_MS[1:])
mutant(1, "the same, on real data", *UNIQUE_BY_MS[0], "cli/import:LegacyJson.test_the_real_tree_in_both_sinks",
       more=UNIQUE_BY_MS[1:], data=True)

mutant(2, "what is written without a sync counts as durable", "persist/lane.c",
       "  if (lane->durable_on_write) lane->durable = lane->written;\n  else if (lane->sync_at_ns == 0)",
       "  lane->durable = lane->written;\n  if (lane->sync_at_ns == 0)", "unit/lane:*/what_is_written_is_durable*")
mutant(2, "the durable number is the accepted one", "persist/writer.c",
       "  uint64_t seq = durable == tail_of(writer) && end > published ? end : published;",
       "  uint64_t seq = durable < published ? published : tail_of(writer) + end - durable;", "fault/kill:*/sqlite_without_the_journal",
       limit=120)

mutant(3, "close gives up a sick sink although there is time", "persist/lane.c",
       "  return !lane->busy && !has_unsynced(lane) && lane->written.position == tail_of(lane);",
       "  return !lane->busy && !has_unsynced(lane);", "unit/writer:*/close_retries_while_there_is_time", "unit/lane")
mutant(3, "close writes the batch in hand and not the queue behind it", "persist/lane.c",
       "  return !lane->busy && !has_unsynced(lane) && lane->written.position == tail_of(lane);",
       "  return !lane->busy && !has_unsynced(lane);", "unit/store:*/close_writes_a_full_queue",
       more=[("persist/writer.c", "  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_dispatch(&writer->lanes[i], &order);",
              "  for (size_t i = 0; i < writer->lane_count && writer->close_deadline_ns == 0; i++) tks__lane_dispatch(&writer->lanes[i], &order);")])
mutant(4, "a batch that is tried again is written without asking what is there", "persist/sqlite_sink.c",
       "r->ts_ns >= end || r->seq <= stored) continue;", "r->ts_ns >= end) continue;", "unit/sqlite_sink:*/what_is_stored_is_not_stored_again",
       "unit/sqlite_sink:*/a_commit_that_fails_to_sync")
mutant(4, "a failed COMMIT is taken as done", "persist/dayfile.c",
       '  if (rc != SQLITE_OK) return fail(file, rc, "cannot commit to", error);\n', "", "unit/dayfile:*/a_commit_that_fails_to_sync")
mutant(4, "after a failed COMMIT the file is not opened anew", "persist/sqlite_sink.c",
       "  if (code != TKS_OK) discard_failed(sink, day);\n  return code;\n}\n\nstatic int write_day(",
       "  return code;\n}\n\nstatic int write_day(", "unit/sqlite_sink:*/a_commit_that_fails_to_sync", "unit/sqlite_sink", "fault/contract", limit=120)
mutant(4, "after a failed sync the log is trusted", "persist/sqlite_sink.c", "    if (is_suspect(sink, day)) {",
       "    if (is_suspect(sink, day) && false) {", "unit/sqlite_sink:*/after_a_failed_sync*")
mutant(4, "a failed sync of lines is simply repeated", "persist/json_file.c", "  file->suspect = true;\n", "",
       "unit/json_file:*/a_failed_sync_is_never_taken_back_by_another")
mutant(4, "after a failed sync the lane goes on where it was", "persist/lane.c",
       "  if (!lane->durable_on_write) lane->written = lane->durable;\n", "", "unit/lane:*/a_failed_sync_takes_back*")

mutant(5, "after an error inside a transaction the next statements run", "persist/dayfile.c",
       '  if (rc != SQLITE_OK) return fail(file, rc, "cannot insert into", error);\n', "",
       "unit/dayfile:*/a_failed_transaction_leaves_nothing", "unit/dayfile:*/no_memory")
mutant(5, "a row that fails is passed over", "persist/dayfile.c",
       "  if (rc == SQLITE_OK) rc = add_quotes(file, records, count);\n", "  if (rc == SQLITE_OK) (void)add_quotes(file, records, count);\n",
       "unit/dayfile:*/a_failed_transaction_leaves_nothing", "unit/dayfile:*/no_memory")

mutant(6, "the wall clock chooses the JSON file", "persist/json_sink.c", "  int32_t day = tks__utc_day(record->ts_ns);",
       "  int32_t day = tks__utc_day(tks__clock_now_ns());", "fault/midnights:*/each_record*", limit=200)
mutant(6, "a batch is not split at midnight", "persist/sqlite_sink.c", "r->ts_ns < start || r->ts_ns >= end ||",
       "r->ts_ns < start || end < start ||", "fault/midnights:*/each_record*", limit=200)
mutant(6, "timers by the wall clock", "persist/writer.c", "    now_ns = tks__clock_monotonic_ns();\n    pump_once",
       "    now_ns = tks__clock_now_ns();\n    pump_once", "fault/midnights:*/steps_of_the_calendar*", limit=100)
mutant(6, "today is sealed with yesterday", "persist/sqlite_sink.c", ".file) >= today || sink->days",
       ".file) > today || sink->days", "unit/sqlite_sink:*/past_days_are_sealed*", "fault/midnights:*/each_record*", limit=200)

mutant(7, "a seal that a reader prevented is taken for one", "persist/dayfile.c",
       "  sealed = sqlite3_finalize(statement) == SQLITE_OK && sealed;\n", "  (void)sqlite3_finalize(statement);\n  sealed = true;\n",
       "unit/dayfile:*/a_reader_in_the_way*")
mutant(7, "a file is set aside without its log", "persist/layout.c", "    rc = move_beside(path, aside, logs[i]);",
       "    rc = ENOENT;", "unit/layout:*/sets_a_file_aside_with_its_logs")
mutant(7, "a closed day stays in WAL mode", "persist/dayfile.c", '"PRAGMA journal_mode=DELETE"', '"SELECT \'delete\'"',
       "unit/dayfile:*/a_sealed_file_stands_alone")
mutant(7, "close leaves a day that a reader had kept from being sealed", "persist/sqlite_sink.c",
       "if (!sink->swept || sink->unsealed_count > 0) sweep(sink);", "if (!sink->swept) sweep(sink);",
       "unit/sqlite_sink:*/close_seals_what*")
mutant(7, "a session that is never tended leaves what a crash left", "persist/sqlite_sink.c",
       "if (!sink->swept || sink->unsealed_count > 0) sweep(sink);", "if (sink->unsealed_count > 0) sweep(sink);",
       "unit/sqlite_sink:*/what_a_crash_left_is_sealed_by*")
mutant(7, "a day in WAL mode without a log beside it is overlooked", "persist/sqlite_sink.c",
       " || is_unsealed(sink, day) ||\n", " ||\n", "unit/sqlite_sink:*/a_day_that_was_closed_unsealed*")

mutant(8, "a line that a crash cut short is not cut off", "persist/json_file.c", "  rc = tks__fs_truncate(fd, length);\n", "",
       "unit/json_file:*/cuts_what_a_crash_left")
mutant(8, "the next line is glued to a line cut short", "persist/json_file.c",
       "  int rc = find_end(file->fd, st.st_size, &file->length, &file->last_seq);\n",
       "  int rc = find_end(file->fd, st.st_size, &file->length, &file->last_seq);\n  file->length = st.st_size;\n",
       "unit/json_sink:*/continues_behind_a_line_cut_by_a_crash")
mutant(8, "a write that was cut short is not taken back", "persist/json_file.c",
       "  int rc = tks__fs_truncate(file->fd, file->length);\n  file->torn = rc != 0;\n", "  int rc = 0;\n  file->torn = false;\n",
       "unit/json_file:*/takes_back_a_write_that_was_cut_short")

mutant(9, "durable is told before there is room", "persist/writer.c",
       "    tks__lane_publish_written(lane);\n",
       "    tks__lane_publish_written(lane);\n    tks__lane_publish_durable(lane);\n    tks__thread_yield();\n",
       "unit/store:*/after_a_flush*",
       more=[("persist/writer.c", "static void publish_progress(",
              "#include <sched.h>\n#define tks__thread_yield() (void)sched_yield()\nstatic void publish_progress(")])
mutant(9, "a dropped record is called accepted", "store.c", "    code = TKS_EQUEUEFULL;\n", "    code = TKS_OK;\n",
       "unit/tickstore:*/a_full_queue_drops_and_says_so")
mutant(9, "drops are not counted", "ingest/journal.c", "  journal->dropped++;\n", "", "unit/journal:*/a_lost_record*",
       "unit/journal:*/many_producers_that_drop*")
mutant(9, "what a sink gives up is not counted", "persist/lane.c",
       "  lane->written.lost += lane->floor - from.position - holes;\n", "  (void)holes;\n",
       "unit/lane:*/gives_up_its_oldest_and_counts_it")
mutant(9, "what a sink gives up is no row of the ledger", "persist/lane.c",
       "  lane->options.lost(lane->options.lost_context, lane->id, cause, from_seq, to_seq, records);\n",
       "  (void)cause, (void)records;\n", "unit/lane:*/names_what_is_lost*")
# That the writer looks again after it has said where it wants to be woken (writer.c, pump) is not found by a test when it is left
# out: the next record wakes it, and it takes two threads within nanoseconds, and then silence, to show.
mutant(9, "a wake-up comes one record late", "ingest/journal.c",
       "  if (p < atomic_load_explicit(&journal->wake_at, memory_order_seq_cst)) return;",
       "  if (p <= atomic_load_explicit(&journal->wake_at, memory_order_seq_cst)) return;", "unit/journal:*/wakes_at_the_position*",
       "unit/journal:*/no_wake_up*")
mutant(10, "infinity is let in", "ingest/validate.c", "  if (isinf(q->bid) || isinf(q->ask))", "  if (isinf(q->bid) && isinf(q->ask))",
       "unit/validate:*/each_fault*")
mutant(10, "an absent side comes back as 0", "query/sqlite_day.c", "== SQLITE_NULL ? NAN :", "== SQLITE_NULL ? 0 :",
       "unit/tickstore:*/what_put_is_given*", "unit/sqlite_day")
mutant(10, "prices as %g", "persist/json_line.c", "  to = put(to, text, tks__decimal_format(value, text));",
       '  to = put(to, text, (size_t)snprintf(text, sizeof text, "%g", value));', "unit/json_line:*/random_records_come_back",
       more=[("persist/json_line.c", "#include <math.h>\n", "#include <math.h>\n#include <stdio.h>\n")])
mutant(10, "prices with the locale's point", "persist/json_line.c", "  to = put(to, text, tks__decimal_format(value, text));",
       '  to = put(to, text, (size_t)snprintf(text, sizeof text, "%.17g", value));',
       "unit/store:*/numbers_do_not_depend_on_the_locale",
       more=[("persist/json_line.c", "#include <math.h>\n", "#include <math.h>\n#include <stdio.h>\n")])
mutant(10, "REAL columns, where -0 becomes 0", "persist/dayfile.c", '" seq INTEGER NOT NULL, bid, ask,',
       '" seq INTEGER NOT NULL, bid REAL, ask REAL,', "unit/dayfile:*/doubles_that_are_easily_lost")

# ------------------------------------------------------------------------ corrupting

mutant(11, "a lock that any close in the process drops", "base/fs.c", "F_OFD_SETLK", "F_SETLK",
       "unit/fs:*/locks_against_processes_and_handles")
mutant(11, "a second SQLite linked in", "CMakeLists.txt",
       "  target_link_libraries(${target} PRIVATE PkgConfig::sqlite3 PkgConfig::libuv PkgConfig::jansson Threads::Threads m\n",
       "  target_link_libraries(${target} PRIVATE -l:libsqlite3.a PkgConfig::libuv PkgConfig::jansson Threads::Threads m\n",
       "abi/symbols")
mutant(12, "readers that may write and checkpoint", "query/pool.c", "SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX",
       "SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX", "unit/pool:*/connections_are_configured")
mutant(13, "reads without a deadline", "query/pool.c", "  return tks__clock_monotonic_ns() > connection->deadline_ns;",
       "  return connection->deadline_ns == 1;", "unit/sqlite_day:*/deadline")
mutant(13, "the log is never begun anew while somebody reads", "persist/dayfile.c",
       "  if (size <= limit || size <= file->patience) return;", "  if (size > 0 || limit > 0) return;", "fault/readers", limit=120)
mutant(13, "no journal_size_limit", "persist/dayfile.c", '"PRAGMA mmap_size=0; PRAGMA journal_size_limit=%llu;"',
       '"PRAGMA mmap_size=0;-- %llu"', "unit/dayfile:*/the_writing_connection_is_configured")
mutant(13, "the log's size is not told", "persist/sqlite_sink.c", "wal += tks__dayfile_wal_bytes(sink->days[i].file);",
       "wal += 0;", "unit/sqlite_sink:*/the_day_that_was_used_longest_ago*")
mutant(14, "readers map the file that is being written", "query/pool.c", "in_wal_mode(db) ? 0 : o->mmap_bytes;",
       "in_wal_mode(db) ? o->mmap_bytes : o->mmap_bytes;", "unit/pool:*/connections_are_configured")
mutant(14, "the writer maps the file that it writes", "persist/dayfile.c", '"PRAGMA mmap_size=0; PRAGMA journal_size_limit',
       '"PRAGMA mmap_size=268435456; PRAGMA journal_size_limit', "unit/dayfile:*/the_file_being_written_is_never_mapped")
mutant(14, "a segment that is shorter than it says is mapped", "ingest/segment.c",
       "slot_count = slots_within((uint64_t)size);", "slot_count = slots_within((uint64_t)size) > 0 ? slot_count : 0;",
       "unit/segment:*/a_shorter_file")
mutant(14, "segments with holes: a full disk is a signal in put", "ingest/segment.c",
       "  rc = tks__fs_allocate(fd, (int64_t)file_bytes(slot_count));", "  rc = tks__fs_truncate(fd, (int64_t)file_bytes(slot_count));",
       "unit/segment:*/a_new_file_has_all_its_blocks*")
mutant(15, "a forked child may call", "store.c",
       "  if (store->forks != atomic_load_explicit(&forks, memory_order_relaxed))\n    return tks__fail(\n",
       "  if (store->forks == UINT32_MAX)\n    return tks__fail(\n", "unit/tickstore:*/every_call_refuses_in_a_forked_child")
mutant(15, "a child of a process with an open store may open one", "base/forks.c", "  if (atomic_load(&inherited)) return false;\n", "",
       "unit/forks", "unit/tickstore:*/a_child_forked_while_a_store_is_open*")

# ---------------------------------------------------------------------------- racing

mutant(16, "what was overwritten while it was copied is handed out", "ingest/ring.c",
       "  uint64_t lost = oldest_whole > from ? oldest_whole - from : 0;",
       "  uint64_t lost = oldest_whole > from && size == 0 ? oldest_whole - from : 0;", "unit/ring", "stress/torn",
       env={"TKS_READS": "1000000"}, limit=120)
mutant(16, "a ring without the slot that is being written", "ingest/ring.c",
       "  uint64_t oldest_whole = now >= slots ? now - slots + 1 : 0;", "  uint64_t oldest_whole = now >= slots ? now - slots : 0;",
       "unit/ring", "stress/torn", limit=120)
mutant(16, "the head moves before the slot is filled", "ingest/ring.c", "  store_slot(slot, record);\n",
       "  atomic_store_explicit(&ring->head, head + 1, memory_order_release);\n  store_slot(slot, record);\n", "unit/ring", "stress/torn",
       limit=120)
mutant(17, "close does not wait for the calls inside", "store.c", "  wait_until_empty(store);\n  int code = close_engine",
       "  if (store->engine == NULL) wait_until_empty(store);\n  int code = close_engine", "stress/races:*/close_against*", limit=240)
mutant(17, "a call does not look at the state", "store.c",
       "  if (atomic_load_explicit(&store->state, memory_order_seq_cst) == TKS__STORE_OPEN) return TKS_OK;",
       "  if (atomic_load_explicit(&store->state, memory_order_seq_cst) != 77) return TKS_OK;", "unit/tickstore:*/calls_after_close")
mutant(18, "a retry sleeps", "persist/lane.c", "  lane->retry_at_ns = now_ns + pause;\n",
       "  (void)nanosleep(&(struct timespec){pause / 1000000000, pause % 1000000000}, NULL);\n  lane->retry_at_ns = now_ns;\n",
       "unit/lane:*/retries_with_doubling*", "unit/writer:*/a_flush_gives_a_sick_sink*", limit=60)
mutant(18, "the loop waits for the worker", "persist/lane.c", "  tks__worker_give(&lane->worker, job);\n",
       "  tks__worker_give(&lane->worker, job);\n  for (bool over = false; !over;) {\n"
       "    (void)pthread_mutex_lock(&lane->worker.lock);\n    over = lane->worker.finished;\n"
       "    (void)pthread_mutex_unlock(&lane->worker.lock);\n  }\n",
       "unit/writer:*/a_sink_that_hangs_does_not_hold_up_the_other")
mutant(19, "an interrupted write is an error", "base/fs.c",
       "    ssize_t n = pwrite(fd, from, length, (off_t)offset);\n    if (n < 0 && errno == EINTR) continue;\n",
       "    ssize_t n = pwrite(fd, from, length, (off_t)offset);\n", "unit/fs:*/interrupted*")
mutant(19, "an interrupted sync is an error", "base/fs.c", "  while (fdatasync(fd) != 0)\n    if (errno != EINTR) return errno;",
       "  if (fdatasync(fd) != 0) return errno;", "unit/fs:*/interrupted*")
mutant(19, "an interrupted open is an error", "base/fs.c", "  } while (opened < 0 && errno == EINTR);", "  } while (false);",
       "unit/fs:*/interrupted*")

# ------------------------------------------------------------- letting the wrong thing in

mutant(20, "../.. as a name", "base/name.c", "  return dots ? TKS_ENAMEPATH : TKS_OK;", "  return TKS_OK;", "unit/name:*/refuses_by_code")
mutant(20, "a slash goes into the path", "base/name.c", "c == '-' || c == '_' || c == '.';", "c == '-' || c == '_' || c == '.' || c == '/';",
       "unit/name:*/becomes_one_directory_entry")
mutant(20, "a NUL in a name", "base/name.c", "  return s[0] < 0x20 || s[0] == 0x7f", "  return (s[0] < 0x20 && s[0] != 0) || s[0] == 0x7f",
       "unit/name:*/refuses_by_code")
mutant(20, "a name of a megabyte", "base/name.c", "  if (length > TKS_NAME_MAX) return TKS_ENAMELONG;\n", "", "unit/name:*/refuses_by_code")
mutant(20, "invalid UTF-8 in a name", "base/name.c", "    if (n == 0) return TKS_ENAMEUTF8;\n", "    if (n == 0) n = 1;\n",
       "unit/name:*/refuses_by_code")
mutant(20, "a quote is not escaped in JSON", "persist/json_line.c", "    if (c >= 0x20 && c != '\"' && c != '\\\\') {",
       "    if (c >= 0x20) {", "unit/json_line:*/escapes_names*")
mutant(20, "a name is text up to its first quote in SQL", "persist/dayfile.c",
       "sqlite3_bind_text(file->statements[add], 1, name->text, (int)name->length, SQLITE_STATIC)",
       "sqlite3_bind_text(file->statements[add], 1, name->text, (int)strcspn(name->text, \"'\"), SQLITE_STATIC)",
       "unit/dayfile:*/names_are_text_and_nothing_else")
mutant(21, "capacity times size in 32 bits", "base/memory.c", "  void *grown = tks__realloc_array(*items, wanted, size);",
       "  void *grown = tks__realloc_array(*items, (uint32_t)(wanted * size), 1);", "unit/memory")
mutant(21, "a negative limit", "tickstore.c", "  if (range->limit < 1)\n", "  if ((uint64_t)range->limit < 1)\n",
       "unit/tickstore:*/refusals_have_codes*")
mutant(21, "a count without a bound", "tickstore.c", "  if (n >= 1 && n <= TKS_MAX_RECORDS) return TKS_OK;", "  if (n >= 1) return TKS_OK;",
       "unit/tickstore:*/refusals_have_codes*")
mutant(21, "settings without their upper bound", "base/config.c", "    if (value < b->low || value > b->high)", "    if (value < b->low)",
       "unit/config:*/bounds_hold*")
mutant(21, "a length near the end of the address space", "base/memory.c",
       "  if (injected() || size > SIZE_MAX - alignment) return NULL;\n", "  if (injected()) return NULL;\n", "unit/memory")
mutant(22, "1970 is let in", "store.c", "  if (quote->ts_ns < engine->earliest_ns ||\n      quote->ts_ns >", "  if (quote->ts_ns >",
       "unit/store:*/the_window_of_times")
mutant(22, "2262 is let in", "store.c", "    move_window(engine, tks__clock_now_ns());\n", "    move_window(engine, ts_ns);\n",
       "unit/store:*/the_window_of_times")
mutant(22, "the window stays where a wrong clock had moved it", "persist/lane.c",
       "  if (lane->options.tended != NULL) lane->options.tended(lane->options.tended_context, job->tended_at_ns);\n", "",
       "fault/midnights:*/the_window_follows*", limit=150)

# --------------------------------------------------------------- tests that prove nothing

mutant(23, "the settings go to another connection", "persist/dayfile.c", "  int rc = sqlite3_exec(file->db, sql, NULL, NULL, NULL);\n",
       "  sqlite3 *other = NULL;\n  (void)sqlite3_open(file->path, &other);\n"
       "  int rc = sqlite3_exec(other, sql, NULL, NULL, NULL);\n  (void)sqlite3_close(other);\n",
       "unit/dayfile:*/the_writing_connection_is_configured")
mutant(23, "and those of readers", "query/pool.c", "  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);\n",
       "  sqlite3 *other = NULL;\n  (void)sqlite3_open(path, &other);\n"
       "  int rc = sqlite3_exec(other, sql, NULL, NULL, NULL);\n  (void)sqlite3_close(other);\n", "unit/pool:*/connections_are_configured")
mutant(24, "synchronous=OFF", "persist/dayfile.c", 'o->synchronous == TKS_SYNC_NORMAL ? "NORMAL" : "FULL"',
       'o->synchronous == TKS_SYNC_NORMAL ? "OFF" : "OFF"', "fault/power:*/nothing_durable_is_lost", limit=300)
mutant(24, "a day file is made with synchronous=OFF", "persist/dayfile.c", '"PRAGMA synchronous=FULL; BEGIN IMMEDIATE; PRAGMA application_id',
       '"PRAGMA synchronous=OFF; BEGIN IMMEDIATE; PRAGMA application_id', "fault/power:*/nothing_durable_is_lost",
       env={"TKS_POWER_STATES": "1500"}, limit=600)
mutant(24, "fdatasync is left out", "base/fs.c", "  while (fdatasync(fd) != 0)\n", "  while (fd < 0)\n", "fault/power:*/nothing_durable_is_lost",
       limit=300)
mutant(24, "directories are not synced", "base/fs.c", "  while (rc == 0 && fsync(fd) != 0)\n", "  while (rc == 0 && fd < 0)\n",
       "fault/power:*/nothing_durable_is_lost", limit=300)
mutant(25, "a test that fails by the clock", "tests/unit/test_worker.c", "  cr_assert_geq(result.took_ns, 0);\n",
       "  cr_assert_lt(result.took_ns, 5000000);\n", "abi/no_timing")

# ------------------------------------------------------------------------- the journal

mutant("journal", "the stamp is not checked", "ingest/slot.h", "  return tks__slot_make_stamp(&body, seq, stamp & 0xffff) == stamp;",
       "  return stamp != 0;", "unit/slot", "unit/recovery:*/torn*")
mutant("journal", "the stamp does not know the place", "ingest/slot.h", "XXH3_64bits_withSeed(body, sizeof *body, seq ^ user_flags << 48)",
       "XXH3_64bits_withSeed(body, sizeof *body, (seq & 0) ^ user_flags << 48)", "unit/slot:*/another_sequence_number_shows")
# The pause stands for an interrupt at the worst moment, which real runs hardly ever have.
mutant("journal", "the stamp is stored before the record", "ingest/slot.h",
       "  slot->body = body;\n  /* Release: whoever sees the stamp sees the record. */\n"
       "  atomic_store_explicit(&slot->stamp, stamp, memory_order_release);\n",
       "  atomic_store_explicit(&slot->stamp, stamp, memory_order_release);\n  for (volatile int i = 0; i < 1000;) i = i + 1;\n"
       "  slot->body = body;\n", "unit/journal:*/many_producers*", "stress/stress", limit=240)
mutant("journal", "names are not logged", "ingest/name_log.c", "static void on_new_name(void *context) { (void)tks__name_log_save(context); }",
       "static void on_new_name(void *context) { (void)context; }", "unit/name_log:*/a_name_is_in_the_file*")
mutant("journal", "a new name is put before it is written down", "store.c", "quote->symbol > tks__names_kept(&engine->symbols.names)",
       "quote->symbol > tks__names_count(&engine->symbols.names)", "unit/store:*/what_cannot_be_named*")
mutant("journal", "a new source is put before it is written down", "store.c", "quote->source > tks__names_kept(&engine->sources)",
       "quote->source > tks__names_count(&engine->sources)", "unit/store:*/what_cannot_be_named*")
mutant("journal", "a name that could not be written down is kept", "ingest/name_log.c",
       "  if (rc != 0) return rc;\n  log->saved[kind] = id;\n  tks__names_keep(log->names[kind], id);\n",
       "  tks__names_keep(log->names[kind], id);\n  if (rc != 0) return rc;\n  log->saved[kind] = id;\n",
       "unit/name_log:*/a_full_disk_keeps_nobody*")
mutant("journal", "no room for names ahead that are not written down yet", "ingest/name_log.c",
       "  rc = tks__fs_allocate(log->fd, ROOM_MIN);\n", "  rc = 0;\n", "unit/name_log:*/the_file_has_room_ahead")
mutant("journal", "records whose name is not written down are destroyed", "ingest/recovery.c", "  found->segment->keep_aside = true;\n", "",
       "unit/recovery:*/without_names*")
mutant("journal", "recovery passes a segment over", "ingest/recovery.c", "  if (found.records == 0) {",
       "  if (found.records == 0 || recovery->count == 1) {", "fault/kill:*/sqlite", limit=120)
mutant("journal", "recovery takes records of names that it does not know", "ingest/journal.c",
       "  return record->symbol != 0 && (source == 0 || record->source != 0);", "  return record->symbol != 0 || source == 0;",
       "unit/journal:*/recovered_blocks*", "unit/recovery")
mutant("journal", "what was torn is not told", "ingest/recovery.c",
       "        note_torn(recovery, found->base_seq + i);\n      continue;\n    }\n    uint32_t id",
       "        recovery->torn.cause = 0;\n      continue;\n    }\n    uint32_t id", "unit/recovery:*/torn*")
mutant("journal", "released when written, before it is durable", "persist/lane.c",
       "  uint64_t position = lane->durable.position;\n  /* A write", "  uint64_t position = lane->written.position;\n  /* A write",
       "unit/lane", "fault/power:*/nothing_durable_is_lost", limit=300)
mutant("journal", "released when any sink has it", "persist/writer.c", "    if (tks__lane_released(lane) < released) released =",
       "    if (released == UINT64_MAX || tks__lane_released(lane) > released) released =", "unit/writer:writer_journal/lets_a_sick_sink*", "unit/writer:*/a_sink_that_hangs*")
mutant("journal", "replay without looking at what SQLite has", "persist/sqlite_sink.c", "r->ts_ns >= end || r->seq <= stored) continue;",
       "r->ts_ns >= end) continue;", "fault/kill:*/sqlite", limit=120)
mutant("journal", "replay without looking at what a JSON file has", "persist/json_sink.c", "    if (r->seq > last_seq) {",
       "    if (r->seq > 0) {", "fault/kill:*/json", limit=120)
mutant("journal", "msync is left out", "base/fs.c", "  while (msync((void *)start, end - start, MS_SYNC) != 0)\n",
       "  while (memory == NULL && length > start)\n", "fault/power:*/nothing_durable_is_lost", limit=300)
mutant("journal", "the journal's directory is not synced", "ingest/keeper.c", "  int rc = tks__fs_sync_dir_of(keeper->names.path);\n", "  int rc = 0;\n",
       "fault/power:*/nothing_durable_is_lost", "unit/keeper", env={"TKS_POWER_STATES": "1500"}, limit=600)
mutant("journal", "the names are not synced", "ingest/keeper.c", "  int rc = tks__name_log_sync(&keeper->names);\n", "  int rc = 0;\n",
       "fault/power:*/nothing_durable_is_lost", limit=300)
mutant("journal", "a segment's header is not synced", "ingest/segment.c", "  if (!segment->header_synced) {", "  if (false) {",
       "unit/segment:*/a_header_is_synced*")
mutant("journal", "what an earlier session left is not synced", "ingest/keeper.c", "  keeper->attempted = keeper->first;\n",
       "  keeper->attempted = position;\n  keeper->first += 0;\n", "unit/keeper:*/recovered_records_do_not_count*")
mutant("journal", "a failed sync is believed when a later one succeeds", "ingest/keeper.c", "    keeper->hole_end = to;\n", "",
       "unit/keeper:*/a_failed_sync_is_not_believed*")
mutant("journal", "numbers do not move on after drops", "ingest/journal.c",
       "  atomic_store_explicit(&journal->offset, offset + 1, memory_order_release);",
       "  atomic_store_explicit(&journal->offset, offset, memory_order_release);", "unit/journal:*/a_lost_record*")
mutant("journal", "a block is taken back from under a scan", "ingest/journal.c",
       "  if (atomic_load_explicit(&journal->pins[(epoch + 1) & 1], memory_order_seq_cst) != 0) return NULL;\n", "  (void)epoch;\n",
       "unit/journal:*/a_scan_pins*")
mutant("journal", "a scan reads what was taken back", "ingest/journal.c", "for (uint64_t p = from > recycled ? from : recycled; p < tail; p++) {",
       "for (uint64_t p = from; p < tail + 0 * recycled; p++) {", "unit/journal:*/a_scan*", "unit/journal:*/random*", "unit/writer:*/no_record*")
mutant("journal", "a recovered segment is used again", "ingest/keeper.c", "  if (recovered || (keeper->in_files &&",
       "  if ((keeper->in_files &&", "unit/keeper:*/a_recovered_file*", limit=100, more=[("ingest/keeper.c", "tks__segment *segment, bool recovered) {\n",
                                                                   "tks__segment *segment, bool recovered) {\n  (void)recovered;\n")])
mutant("journal", "a segment is used again as it is", "ingest/segment.c",
       "  memset((void *)segment->slots, 0, (size_t)segment->slot_count * sizeof(tks__slot));\n", "", "unit/segment", "unit/keeper:*/keeps_ahead*")
mutant("journal", "a segment's former use is forgotten", "ingest/segment.c", "  if (before != 0) header->stale_seq = before;\n",
       "  (void)before;\n", "unit/segment:*/a_second_use*")
mutant("journal", "close removes what no sink has", "ingest/keeper.c", "p + block <= keep_from || p >= keep_to);",
       "p + block <= keep_from || p >= keep_to || p > 0);", "unit/keeper:*/what_no_sink_has*")
mutant("journal", "a session's number is used twice", "ingest/keeper.c", "  keeper->session = keeper->recovery.last_session + 1;",
       "  keeper->session = keeper->recovery.last_session > 0 ? keeper->recovery.last_session : 1;", "unit/keeper", "fault/kill:*/sqlite", limit=120)
mutant("journal", "after a crash numbers are given out again", "store.c", "  in_use.next_seq += TKS__SEQ_RESERVE;\n", "",
       "unit/store:*/after_a_crash", "fault/kill:*/sqlite", limit=120)
mutant("journal", "nobody syncs it", "persist/writer.c", "  if (durable < tail_of(writer)) tks__keeper_arm(writer->options.keeper);\n", "",
       "unit/tickstore:*/the_journal_is_synced_by_itself", limit=100)
mutant("journal", "a put does not look whether there is room", "ingest/journal.c",
       "    if (p >= atomic_load_explicit(&journal->room_end, memory_order_acquire)) return false;",
       "    if (p > atomic_load_explicit(&journal->room_end, memory_order_acquire)) return false;", "unit/journal")
mutant("journal", "a claimed place is passed before it is filled", "ingest/journal.c",
       "    if (stamp == 0 && !recovered) break;", "    if (stamp == 0 && !recovered && p > tail) break;", "unit/journal:*/a_sink_stops*")
mutant("journal", "holes are taken for losses", "ingest/journal.c", "    else if (recovered) part->holes++;\n", "",
       "unit/journal:*/recovered_blocks*")

# ------------------------------------------------------------------ sinks and the rest

mutant("sinks", "JSON lines before their day is noted", "persist/json_sink.c",
       "  if (noted == 0) noted = tks__json_days_add(&s->unsynced, s->options.layout, g->day);\n", "", "unit/json_sink:*/no_line_without*")
mutant("sinks", "lines that a crash left are trusted unsynced", "persist/json_file.c", "  return rc == 0 ? tks__fs_sync(fd) : rc;\n}\n\nint tks__json_file_recover",
       "  return rc;\n}\n\nint tks__json_file_recover", "unit/json_file:*/recovery_is_over_when*")
mutant("sinks", "a day is let go unsynced", "persist/sqlite_sink.c",
       "  int code = sink->base.durable_on_write ? TKS_OK : tks__dayfile_sync(file, error);\n", "  int code = TKS_OK;\n",
       "unit/sqlite_sink:*/normal_syncs_what_it_closes", "fault/contract:*/a_day_is_synced*")
mutant("sinks", "a record for one lost day holds up the others", "persist/sqlite_sink.c", "  if (code == TKS_EDAYFILE) {\n    code = set_aside",
       "  if (code == TKS_EDAYFILE && sink->all_suspect) {\n    code = set_aside", "unit/sqlite_sink:*/a_damaged_file_is_set_aside*")
mutant("sinks", "a loss that could not be noted is forgotten", "ingest/keeper.c",
       "  if (!written) atomic_store_explicit(&keeper->loss_pending, true, memory_order_relaxed);\n", "",
       "unit/keeper:*/a_note_that_was_refused*")
mutant("sinks", "dlclose unmaps the library under its threads", "CMakeLists.txt", "target_link_options(tickstore PRIVATE LINKER:-z,nodelete)\n", "",
       "fault/unloading", limit=200)
mutant("sinks", "a JSON file of another store is taken for what is stored", "persist/json_sink.c",
       "  if ((*out)->file.last_seq > s->given_seq) {", "  if (false) {", "unit/json_sink:*/a_file_of_another_store*")
mutant("journal", "what a file cut short may have held is no row of the ledger", "ingest/recovery.c",
       "  if (found->segment->slot_count < head->slot_count)", "  if (false)", "unit/recovery:*/a_file_that_was_cut_short")
mutant(15, "a forked child keeps a dead writer's lock", "base/forks.c",
       "void tks__forks_note_lock(int fd) { replace_lock(0, fd + 1); }", "void tks__forks_note_lock(int fd) { (void)fd; }",
       "unit/store:*/a_forked_child_does_not_hold*")
mutant("sinks", "what is given up of a recovered journal is told up to a number given out since", "persist/lane.c",
       "    lane->floor_seq = seq < behind ? seq : behind;\n", "    lane->floor_seq = behind;\n", "unit/lane:*/gives_up_what_was_recovered*")
mutant("journal", "a full journal waits for the time of the next sync", "persist/writer.c", "      .room_target = room_target(writer),\n", "",
       "unit/store:*/a_full_journal_does_not_wait*")
mutant("journal", "a block that a scan pins is a reason to drop", "ingest/keeper.c", "  bool can_grow = rc == 0 || keeper->pinned;\n",
       "  bool can_grow = rc == 0;\n", "unit/keeper:*/a_scan_of_a_full_journal*")
mutant("journal", "each crash with a sick sink adds files", "ingest/keeper.c",
       "  return most > bound && by_newest <= AHEAD_MIN ? bound : most;\n", "  return most;\n", "unit/keeper")
mutant("journal", "a loss is nowhere while it is told of", "ingest/keeper.c",
       "  if (passed) keeper->options.note_loss(keeper->options.note_context, loss);\n", "", "unit/store:*/a_loss_is_listed_while*",
       more=[("ingest/keeper.c", "  bool written = keeper->options.write_losses(",
              "  if (passed) keeper->options.note_loss(keeper->options.note_context, &loss);\n"
              "  bool written = keeper->options.write_losses(")])
mutant("journal", "where a put waited in vain the next one waits too", "store.c",
       "    bool worth_waiting = block || tks__journal_room_is_near(engine->journal);",
       "    bool worth_waiting = block || tks__journal_can_grow(engine->journal);",
       "unit/store:*/a_disk_that_hangs_stops_the_host_once",
       more=[("store.c", "tks__journal_can_grow(engine->journal) : tks__journal_room_is_near(engine->journal));",
              "tks__journal_can_grow(engine->journal) : tks__journal_can_grow(engine->journal));")])
mutant(7, "a log that a reader began while the day was sealed stays", "persist/dayfile.c", "  for (int i = 0; i < SEAL_TRIES && sealed",
       "  for (int i = 0; i < 0 && sealed", "unit/dayfile:*/a_reader_that_comes_while_it_is_sealed*")
