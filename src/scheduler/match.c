/* Node selectors, taints and tolerations against the scheduler's picture of a node. */
#include "scheduler/inner.h"

const struct json *taint_untolerated(const struct json *tolerations, const struct node_info *n, bool prefer)
{
    json_for ((struct json *)(uintptr_t)n->taints, taint)
        if (str_eqz(json_get_str(taint, "effect"), "PreferNoSchedule") == prefer && !taint_tolerated(tolerations, taint))
            return taint;
    return NULL;
}

static struct str label_of(const void *node, struct str key)
{
    return node_label(node, key);
}

bool node_selector_term(const struct json *term, const struct node_info *n)
{
    return node_term_matches(term, &(struct node_traits){n, n->name, label_of});
}

bool node_affinity_matches(const struct cycle *c, const struct node_info *n)
{
    return node_wanted(c->spec, &(struct node_traits){n, n->name, label_of});
}

bool labels_match(const struct obj *o, const struct selector *sel)
{
    return selector_match(sel, (const struct label *)(const void *)o->labels, o->nlabels);
}
