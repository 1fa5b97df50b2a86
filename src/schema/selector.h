/* Label and field selectors: parsing in the query form (apimachinery's labels.Parse, fields.ParseSelector), from LabelSelector objects, and matching. Also names
 * and other small grammars of the API (DNS-1123, qualified names, label values), which validation and admission share. */
#pragma once
#include "base/pool.h"
#include "json/json.h"

enum sel_op { SEL_IN, SEL_NOT_IN, SEL_EXISTS, SEL_NOT_EXISTS, SEL_GT, SEL_LT };
struct sel_req { struct str key; enum sel_op op; const struct str *values; size_t nvalues; };
struct selector { struct sel_req *reqs; size_t n; bool nothing; /* matches no object */ };

struct label { struct str key, value; };
/* "a=b,c in (d,e),!f,g>1". ERR_BAD_REQUEST with apimachinery's message: `unable to parse requirement: ...`. Empty text matches all. */
int selector_parse(struct pool *p, struct str text, struct selector *out, struct err **e) _must_check_;
/* metav1.LabelSelector {matchLabels, matchExpressions}; absent matches nothing, {} all. */
int selector_from_json(struct pool *p, const struct json *sel, struct selector *out, struct err **e) _must_check_;
/* map[string]string as in a ReplicationController or a Service; empty matches nothing when empty_none. */
void selector_from_map(struct pool *p, const struct json *map, bool empty_none, struct selector *out);
bool selector_match(const struct selector *s, const struct label *labels, size_t n);
bool selector_match_json(const struct selector *s, const struct json *labels_obj);
/* "metadata.name=x,spec.nodeName!=y": reqs with SEL_IN / SEL_NOT_IN of one value. */
int field_selector_parse(struct pool *p, struct str text, struct selector *out, struct err **e) _must_check_;
/* ---- nodes (node_match.c) ---- whoever keeps nodes in whatever form says how to read a label: absent when the node has none of that key. */
struct node_traits {
    const void *node;
    struct str name;
    struct str (*label)(const void *node, struct str key);
};
bool node_term_matches(const struct json *term, const struct node_traits *n);         /* a NodeSelectorTerm; an empty one matches nothing */
bool node_selector_matches(const struct json *selector, const struct node_traits *n); /* a NodeSelector: any of its terms; NULL: every node */
bool node_wanted(const struct json *pod_spec, const struct node_traits *n);           /* nodeSelector and required node affinity */
bool toleration_covers(const struct json *toleration, struct str key, struct str value, struct str effect);
bool taint_tolerated(const struct json *tolerations, const struct json *taint);       /* by any of the list */

struct str selector_text(struct pool *p, const struct selector *s); /* canonical query form */

/* NULL when fine, else the message that Kubernetes gives (k8s.io/apimachinery/pkg/util/validation). */
const char *name_dns1123_label(struct str s);
const char *name_dns1123_subdomain(struct str s);
const char *name_dns1035_label(struct str s);
const char *name_path_segment(struct str s);
const char *name_qualified(struct str s);       /* label keys */
const char *name_label_value(struct str s);
const char *name_config_key(struct str s);      /* keys of ConfigMap and Secret data */
const char *name_env_var(struct str s);
const char *name_port(struct str s);            /* IANA_SVC_NAME, RFC 6335 section 5.1 */
