/* Documents beside their type as server-side apply sees them (structured-merge-diff's typed package): what a document sets, how two differ,
 * merging one into the other, taking a set of fields out. Inside the room only.
 *
 * A value is a leaf (scalars, atomic lists, maps and structs, any JSON), a struct, a map, a keyed list or a set. */
#pragma once
#include "schema/fieldset.h"
#include "schema/schema.h"

/* The fields that doc sets. ERR_BAD_REQUEST: a keyed list's element without its key, or two elements with one key. */
int typed_fields(const struct schema_type *t, struct pool *p, const struct json *doc, struct fieldset **out, struct err **e) _must_check_;
/* The same for what is stored already, where lists may hold elements twice (environment variables): the first one counts. */
struct fieldset *typed_stored_fields(const struct schema_type *t, struct pool *p, const struct json *doc);
struct typed_diff {
    struct fieldset *added, *modified, *removed;
};
void typed_compare(const struct schema_type *t, struct pool *p, const struct json *old, const struct json *doc, struct typed_diff *out);
/* A new document: live with what config sets. Both stay as they are. */
struct json *typed_merge(const struct schema_type *t, struct pool *p, const struct json *live, const struct json *config);
/* Takes the members of the set out of doc (changes it); what becomes empty by that becomes null. */
void typed_remove(const struct schema_type *t, struct pool *p, struct json *doc, const struct fieldset *what);
/* s, and every struct field that leads to one of its members as a member itself. */
struct fieldset *typed_named(const struct schema_type *t, struct pool *p, const struct fieldset *s);
