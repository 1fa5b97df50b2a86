/* Where a test can make a system call or an allocation fail (house rule 19). fault_hook is NULL outside of tests; it is asked with a name before
 * each step that may fail for reasons outside of the program; returning true, with errno set, makes that step fail.
 */
#pragma once
#include "base/base.h"

extern bool (*fault_hook)(const char *what);
static inline bool fault(const char *what) { return unlikely(fault_hook != NULL) && fault_hook(what); }
