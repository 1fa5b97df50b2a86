/* Numbers between text and node. Inside the room only. */
#pragma once
#include "json/json.h"

enum number_result { NUMBER_OK, NUMBER_BAD, NUMBER_RANGE };
/* Reads the number at p (RFC 8259 section 6); *after is the first byte behind it. RANGE: no finite double holds it, or, when strict, an
 * integer beyond int64 that a double would round. */
enum number_result number_read(const char *p, const char *end, bool strict, struct json *out, const char **after);
/* The shortest digits that read back as v, laid out as Go's encoding/json does, with ".0" where it would otherwise read back as an integer.
 */
#define NUMBER_MAX 40
size_t number_write(double v, char out[NUMBER_MAX]);
