/* struct str: the one (pointer, length) view. It never owns its bytes, need not end in NUL, and is passed by value.
 * A str whose p is NULL is "absent"; one with p set and n 0 is "present and empty". str_eq treats them alike.
 * The pointed-to bytes live as long as their owner says (a pool, a struct bytes, a string literal).
 */
#pragma once
#include "base/base.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_NULL ((struct str){NULL, 0})
/* For printf: "%.*s", STR_ARG(s). */
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct str str_of(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
static inline struct str str_make(const char *p, size_t n) { return (struct str){p, n}; }
static inline bool str_empty(struct str s) { return s.n == 0; }
static inline bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_eqz(struct str a, const char *z) { return str_eq(a, str_of(z)); }

int str_cmp(struct str a, struct str b) _pure_;          /* bytewise order, as strcmp; shorter first on a tie */
bool str_eq_nocase(struct str a, struct str b) _pure_;   /* ASCII case only */
bool str_starts(struct str s, struct str prefix) _pure_;
bool str_ends(struct str s, struct str suffix) _pure_;
ssize_t str_find(struct str s, struct str needle) _pure_; /* index of the first occurrence, or -1 */
ssize_t str_chr(struct str s, char c) _pure_;             /* index, or -1 */
ssize_t str_rchr(struct str s, char c) _pure_;
struct str str_trim(struct str s) _pure_;                 /* without ASCII white space at both ends */
struct str str_sub(struct str s, size_t from, size_t to) _pure_; /* [from, to), clamped to s */

/* Takes the piece before the next sep off *rest and returns true; at the end returns the last piece once, then false.
 * "a,,b" gives "a", "", "b"; "a," gives "a", "". An absent or empty *rest at the first call gives nothing. Start with a copy:
 *     struct str rest = s, piece;
 *     while (str_split(&rest, ',', &piece)) ...                                                                */
bool str_split(struct str *rest, char sep, struct str *piece);
/* Cuts s at the first sep: *head before it, *tail behind it. false (and nothing written) when there is none. */
bool str_cut(struct str s, char sep, struct str *head, struct str *tail);

/* Whole-string number parsing: no sign unless signed, no white space, no overflow. false leaves *out untouched. */
bool str_to_u64(struct str s, uint64_t *out);
bool str_to_i64(struct str s, int64_t *out);
bool str_to_double(struct str s, double *out);

char *str_dup(struct str s) _malloc_;    /* malloc'ed, NUL-terminated */
uint64_t str_hash(struct str s) _pure_;  /* SipHash-1-3 with a per-process random key: safe for hostile keys */
bool str_utf8_valid(struct str s) _pure_; /* RFC 3629: no surrogates, no overlong forms */
/* Compares two secrets in time that depends on their lengths only. */
bool str_eq_secret(struct str a, struct str b);
