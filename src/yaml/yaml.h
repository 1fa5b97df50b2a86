/* YAML as Kubernetes reads it (sigs.k8s.io/yaml): libyaml's events, our scalar resolver, into a json tree.
 *
 * Scalars follow YAML 1.1 as go-yaml v2 resolves them: yes/no/on/off/y/n are booleans as there, 0o17 and 0x1f integers, .inf and .nan refused (no JSON form),
 * timestamps stay strings, quoted scalars are strings. Aliases are expanded with a budget (a "billion laughs" is ERR_LIMIT), merge keys (<<)
 * are honoured, non-string keys become strings, duplicate keys are an error.
 */
#pragma once
#include "json/json.h"

struct yaml_limits { size_t bytes, depth, nodes, documents; }; /* 0: defaults 3 MiB, 128, 1,000,000, 10,000 */
/* All documents of a stream; empty ones are left out. A text that begins with { is tried as JSON first. ERR_PARSE names line. */
int yaml_parse(struct pool *pool, struct str text, const struct yaml_limits *limits, struct json ***docs, size_t *ndocs, struct err **e) _must_check_;
int yaml_parse_one(struct pool *pool, struct str text, const struct yaml_limits *limits, struct json **doc, struct err **e) _must_check_;
/* Block style, keys sorted, strings quoted where they would read back as another type. Ends in a newline. */
void yaml_write(struct buf *b, const struct json *j);
