/* Regular expressions with RE2's syntax and RE2's promise: time linear in the text, whatever the pattern
 * (github.com/google/re2/wiki/Syntax).
 *
 * A pattern is compiled to a program of at most REGEX_PROGRAM instructions, which all threads of a Pike machine walk side by side; there is
 * no backtracking. Text and pattern are UTF-8; a byte that is no UTF-8 counts as one character that only . and negated classes match. Of
 * several matches the leftmost is found, and among those the one that Perl would prefer. Not there: \p{...} classes and \C, which are
 * refused by name.
 *
 * A compiled pattern is immutable and may be used by any thread.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"

#define REGEX_PATTERN 16384 /* bytes */
#define REGEX_PROGRAM 20000 /* instructions */

struct regex;
/* ERR_INVALID with Go's words: "error parsing regexp: missing closing ): `a(b`". */
int regex_new(struct str pattern, struct regex **out, struct err **e) _must_check_;
void regex_free(struct regex *r);
DEFINE_CLEANUP(struct regex *, regex_free)
bool regex_match(const struct regex *r, struct str text); /* anywhere in text */
/* The first match at or after `from`: its bytes are [*start, *end). */
bool regex_find(const struct regex *r, struct str text, size_t from, size_t *start, size_t *end);
size_t regex_cost(const struct regex *r); /* instructions: what a character of text costs at most */
