/* resource.Quantity (apimachinery/pkg/api/resource): decimal fractions with SI, binary and exponent suffixes, canonical form. Kept as a sign, an int64 of digits
 * and a decimal scale; values beyond are ERR_BAD_REQUEST ("quantities must match the regular expression ..."). */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum quantity_format { Q_DECIMAL_SI, Q_BINARY_SI, Q_DECIMAL_EXPONENT };
struct quantity { int64_t digits; int8_t scale; /* value = digits * 10^scale */ uint8_t format; };
int quantity_parse(struct str s, struct quantity *out, struct err **e) _must_check_;
void quantity_write(struct buf *b, struct quantity q);        /* canonical */
int64_t quantity_value(struct quantity q);                    /* rounded up to whole units; saturates */
int64_t quantity_milli(struct quantity q);                    /* rounded up to thousandths; saturates */
int quantity_cmp(struct quantity a, struct quantity b);
struct quantity quantity_add(struct quantity a, struct quantity b); /* keeps a's format */
struct quantity quantity_sub(struct quantity a, struct quantity b);
