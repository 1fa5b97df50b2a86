#include "schema/wire.h"

_Static_assert((int)PROTO_STRING == SCH_STRING && (int)PROTO_BYTES == SCH_BYTES && (int)PROTO_OBJECT == SCH_OBJECT && (int)PROTO_MAP == SCH_MAP &&
        (int)PROTO_QUANTITY == SCH_QUANTITY && (int)PROTO_DURATION == SCH_DURATION && (int)PROTO_FIELDS == SCH_FIELDS && (int)PROTO_ANY == SCH_ANY,
    "the codec's kinds begin with the schema's, in the same order");

/* Three unions of apiextensions that the tables know as "any JSON". */
static const struct {
    const char *field;
    uint8_t kind, item;
} unions[] = {{"items", PROTO_SCHEMA_OR_ARRAY, 0}, {"additionalItems", PROTO_SCHEMA_OR_BOOL, 0}, {"additionalProperties", PROTO_SCHEMA_OR_BOOL, 0},
    {"dependencies", PROTO_MAP, PROTO_SCHEMA_OR_STRINGS}};

static const struct schema_type no_fields = {.name = {"CustomResourceSubresourceStatus", 31}};

static void view(const struct schema_field *f, struct proto_field *out)
{
    *out = (struct proto_field){.name = f->name, .kind = f->kind, .item = f->item, .number = f->proto, .via = f->proto_via_num,
        .pointer = f->flags & SCH_POINTER, .omitempty = f->flags & SCH_OMITEMPTY, .ref = f->ref, .elem = f->elem};
}

static void at(const void *type, size_t i, struct proto_field *out)
{
    const struct schema_type *t = type;
    view(&t->fields[i], out);
    if (out->kind != PROTO_ANY && !(out->kind == PROTO_MAP && out->item == PROTO_ANY))
        return;
    if (str_ends(t->name, STR(".CustomResourceSubresources")) && str_eqz(out->name, "status")) {
        out->kind = PROTO_OBJECT; /* a message without fields: that it is there says everything */
        out->ref = &no_fields;
    } else if (str_ends(t->name, STR(".JSONSchemaProps")))
        for (size_t k = 0; k < ARRAY_LEN(unions); k++)
            if (str_eqz(out->name, unions[k].field)) {
                out->kind = unions[k].kind;
                out->item = unions[k].item;
                out->ref = t;
            }
}

static void elem(const void *e, struct proto_field *out)
{
    view(e, out);
}

static ssize_t by_name(const void *type, struct str name)
{
    const struct schema_type *t = type;
    const struct schema_field *f = schema_field(t, name);
    return f ? f - t->fields : -1;
}

static ssize_t by_number(const void *type, uint16_t via, uint32_t number, size_t hint)
{
    const struct schema_type *t = type;
    for (size_t k = 0; k < t->nfields; k++) {
        size_t i = hint + k < t->nfields ? hint + k : hint + k - t->nfields;
        if (t->fields[i].proto == number && t->fields[i].proto_via_num == via)
            return (ssize_t)i;
    }
    return -1;
}

static bool inlines(const void *type, uint16_t via)
{
    const struct schema_type *t = type;
    for (size_t i = 0; i < t->nfields; i++)
        if (t->fields[i].proto_via_num == via || (via < 256 && t->fields[i].proto_via_num >> 8 == via))
            return true;
    return false;
}

const struct proto_schema schema_wire = {at, elem, by_name, by_number, inlines};

bool schema_has_wire(const struct schema_type *t)
{
    for (size_t i = 0; i < t->nfields; i++)
        if (t->fields[i].proto)
            return true;
    return false;
}
