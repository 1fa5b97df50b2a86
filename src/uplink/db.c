#include "uplink/db.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int db_fail(sqlite3 *db, const char *what, struct err **e)
{
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
    return err_set(e, (code & 0xff) == SQLITE_FULL ? ERR_STORAGE_FULL : ERR_IO, "%s: %s", what, db ? sqlite3_errmsg(db) : "out of memory");
}

int db_exec(sqlite3 *db, const char *sql, struct err **e)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, sql, e);
}

int db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err **e)
{
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK ? 0 : db_fail(db, sql, e);
}

int db_run(sqlite3_stmt *st, struct err **e)
{
    int r = sqlite3_step(st);
    int code = r == SQLITE_DONE || r == SQLITE_ROW ? 0 : db_fail(sqlite3_db_handle(st), "write", e);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return code;
}

void db_bind_str(sqlite3_stmt *st, int at, const char *p, size_t n)
{
    sqlite3_bind_blob64(st, at, p ? p : "", n, SQLITE_STATIC);
}

static int try_open(const char *path, const char *schema, bool full, sqlite3 **out)
{
    static const char settings[] = "PRAGMA journal_mode=WAL; PRAGMA cache_size=-256; PRAGMA wal_autocheckpoint=64; PRAGMA "
                                   "journal_size_limit=1048576; PRAGMA auto_vacuum=INCREMENTAL;";
    sqlite3 *db = NULL;
    bool intact = false;
    sqlite3_stmt *st = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_exec(db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, settings, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK)
        intact = sqlite3_step(st) == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
    sqlite3_finalize(st);
    if (intact && sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK) {
        *out = db;
        return SQLITE_OK;
    }
    int code = sqlite3_errcode(db) & 0xff;
    sqlite3_close(db);
    return intact || (code != SQLITE_OK && code != SQLITE_NOTADB && code != SQLITE_CORRUPT) ? code : SQLITE_CORRUPT;
}

static int set_aside(const char *path, struct err **e)
{
    static const char *const tails[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        _cleanup_(freep) char *from = xasprintf("%s%s", path, tails[i]), *to = xasprintf("%s.damaged%s", path, tails[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return err_errno(e, errno, "set %s aside", from);
    }
    return 0;
}

int db_open(const char *path, const char *schema, bool full, sqlite3 **out, bool *fresh, struct err **e)
{
    *fresh = access(path, F_OK) < 0;
    int code = try_open(path, schema, full, out);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        if (set_aside(path, e) < 0)
            return -(int)ERR_IO;
        *fresh = true;
        code = try_open(path, schema, full, out);
    }
    if (code != SQLITE_OK)
        return err_set(e, code == SQLITE_FULL ? ERR_STORAGE_FULL : ERR_IO, "open %s: %s", path, sqlite3_errstr(code));
    return 0;
}
