/* Table cells. A column of schema/ whose path is set needs no code; the path is one of
 *     .a.b          the value there (by the column's type: "" or 0 or false when absent); .a.b|text: text when absent
 *     age:.a        time since, as kubectl shows it ("5m", "<unknown>")
 *     count:.a+.b   members of arrays or objects, summed
 *     frac:.a/.b    "1/2"
 *     int: bool: join: labels: selector: names: images:   a number; True/False; values by comma; a map; a label selector; containers of a
 * pod spec What this cannot say is a kind's cells hook, which then makes all cells of the row.
 */
#pragma once
#include "kinds/kinds.h"

void cell_add_str(struct kind_ctx *c, struct json *cells, struct str s);
void cell_add_z(struct kind_ctx *c, struct json *cells, const char *z);
void cell_add_int(struct kind_ctx *c, struct json *cells, int64_t v);
void cell_add_age(struct kind_ctx *c, struct json *cells, struct str time);                    /* since an RFC 3339 time; "<unknown>" */
void cell_add_or(struct kind_ctx *c, struct json *cells, struct str s, const char *otherwise); /* otherwise when s is empty */
struct str cell_since(struct kind_ctx *c, struct str time);
struct str cell_duration(struct pool *p, int64_t ns); /* duration.HumanDuration: "5m30s", "2d4h" */
int64_t cell_between(int64_t from, int64_t to);       /* to - from; saturates */
struct str cell_labels(struct pool *p, const struct json *map);
struct str cell_selector(struct pool *p, const struct json *selector);
struct str cell_join(struct pool *p, const struct json *arr, const char *sep);
struct str cell_member_join(struct pool *p, const struct json *arr, const char *member, const char *sep);
const struct json *cell_path(const struct json *doc, struct str path); /* ".a.b"; also ".a['x.y/z']" */
void cells_by_path(struct kind_ctx *c, const struct json *doc, struct json *cells);
