/* One log line per event on standard error: time, level, process, message, then key=value pairs that the caller put into the message
 * (object first: pod=ns/name). Control characters and newlines from input are escaped. Level settable at run time. Only programs
 * (supervisor, cli and the process mains) and long-lived rooms' background work log; room functions return errors.
 */
#pragma once
#include <stdarg.h>
#include "base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_init(const char *process, enum log_level level); /* process: "api", "gate"...; also from SAMPAN_LOG=debug */
void log_set_level(enum log_level level);
bool log_on(enum log_level level);
void log_at(enum log_level level, const char *fmt, ...) _printf_(2, 3);
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (unlikely(log_on(LOG_DEBUG))) log_at(LOG_DEBUG, __VA_ARGS__); } while (0)
