/* SQLite as mirror and outbox use it: one connection, WAL, small cache, opened or set aside when damaged. Inside the room, and for the hub's view of its clusters. */
#pragma once
#include <sqlite3.h>
#include "base/err.h"

/* Opens path and runs schema (CREATE TABLE IF NOT EXISTS ...). A file that is no intact database is renamed to <path>.damaged first and *fresh set. full: every commit reaches the
 * medium before it is reported (synchronous=FULL). */
int db_open(const char *path, const char *schema, bool full, sqlite3 **out, bool *fresh, struct err **e) _must_check_;
int db_exec(sqlite3 *db, const char *sql, struct err **e) _must_check_;
int db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err **e) _must_check_;
/* Steps a statement that returns no row, and resets it. */
int db_run(sqlite3_stmt *st, struct err **e) _must_check_;
int db_fail(sqlite3 *db, const char *what, struct err **e);
void db_bind_str(sqlite3_stmt *st, int at, const char *p, size_t n); /* not copied: must live until the statement ran */
