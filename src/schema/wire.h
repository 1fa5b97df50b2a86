/* The API's tables as the protobuf codec wants them (proto/proto.h): proto_decode(&schema_wire, type, ...), proto_encode(&schema_wire, type, ...)
 * with a struct schema_type as the type. apiVersion and kind do not stand in an object's own message; they are the envelope's. Types that were made
 * at run time (CRDs) have no numbers: they have no protobuf form, as in Kubernetes.
 */
#pragma once
#include "proto/proto.h"
#include "schema/schema.h"

extern const struct proto_schema schema_wire;
/* Has the type a protobuf form at all? */
bool schema_has_wire(const struct schema_type *t);
