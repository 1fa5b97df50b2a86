/* How fast an autoscaler may go where its metrics want it. */
#include <math.h>
#include "controllers/hpa.h"

static void keep(struct hpa_samples *x, int64_t when, int64_t n)
{
    if (x->n == HPA_SAMPLES) {
        memmove(x->at, x->at + 1, (HPA_SAMPLES - 1) * sizeof *x->at);
        x->n--;
    }
    x->at[x->n++] = (struct hpa_sample){when, n};
}

static void drop_older(struct hpa_samples *x, int64_t than)
{
    size_t k = 0;
    while (k < x->n && x->at[k].when < than)
        k++;
    memmove(x->at, x->at + k, (x->n - k) * sizeof *x->at);
    x->n -= k;
}

/* A samples' list is bounded: within a long window the newest of equal value tells as much as all of them. */
static void recommend(struct hpa_turn *t, int64_t wished, int64_t window_s)
{
    struct hpa_samples *x = &t->h->wished;
    drop_older(x, t->s->now - window_s * NS_PER_S);
    if (x->n && x->at[x->n - 1].n == wished)
        x->n--;
    keep(x, t->s->now, wished);
}

static int64_t changed_within(const struct hpa_turn *t, const struct hpa_samples *x, int64_t seconds)
{
    int64_t sum = 0;
    for (size_t i = 0; i < x->n; i++)
        if (x->at[i].when > t->s->now - seconds * NS_PER_S)
            sum += x->at[i].n;
    return sum;
}

void hpa_note_change(struct hpa_turn *t, int64_t to)
{
    bool up = to > t->replicas;
    if (json_get(t->spec, STR("behavior")))
        keep(up ? &t->h->ups : &t->h->downs, t->s->now, up ? to - t->replicas : t->replicas - to);
}

static int64_t limited(struct hpa_turn *t, int64_t wished, int64_t got, const char *reason, const char *message)
{
    if (wished == got)
        hpa_condition(t, "ScalingLimited", false, "DesiredWithinRange", STR("the desired count is within the acceptable range"));
    else
        hpa_condition(t, "ScalingLimited", true, reason, str_of(message));
    return got;
}

#define FASTER "the desired replica count is increasing faster than the maximum scale rate"
#define SLOWER "the desired replica count is decreasing faster than the maximum scale rate"
#define MANY "the desired replica count is more than the maximum replica count"
#define FEW "the desired replica count is less than the minimum replica count"

/* ---- without spec.behavior ---- */

static int64_t plain(struct hpa_turn *t, int64_t wished)
{
    int64_t stable = wished, rate = MAX(2 * t->replicas, (int64_t)4);
    for (size_t i = 0; i < t->h->wished.n; i++)
        if (t->h->wished.at[i].when >= t->s->now - HPA_STABLE_S * NS_PER_S)
            stable = MAX(stable, t->h->wished.at[i].n);
    recommend(t, wished, HPA_STABLE_S);
    if (stable != wished)
        hpa_condition(t, "AbleToScale", true, "ScaleDownStabilized",
            STR("recent recommendations were higher than current one, applying the highest recent recommendation"));
    else
        hpa_condition(t, "AbleToScale", true, "ReadyForNewScale", STR("recommended size matches current size"));
    if (stable < t->min)
        return limited(t, stable, t->min, "TooFewReplicas", FEW);
    if (t->max > rate)
        return limited(t, stable, MIN(stable, rate), "ScaleUpLimit", FASTER);
    return limited(t, stable, MIN(stable, t->max), "TooManyReplicas", MANY);
}

/* ---- with it ---- */

static int64_t window_of(const struct json *rules, int64_t dflt)
{
    return json_get_int(rules, "stabilizationWindowSeconds", dflt);
}

/* The replicas that the policies of one direction allow now. */
static int64_t allowed(const struct hpa_turn *t, const struct json *rules, bool up)
{
    struct str select = json_get_str(rules, "selectPolicy");
    bool least = str_eqz(select, "Min"), first = true;
    int64_t best = t->replicas;
    if (str_eqz(select, "Disabled"))
        return t->replicas;
    json_for (json_get(rules, STR("policies")), p) {
        int64_t period = json_get_int(p, "periodSeconds", 15), value = json_get_int(p, "value", 0), n;
        int64_t start = t->replicas - changed_within(t, &t->h->ups, period) + changed_within(t, &t->h->downs, period);
        if (str_eqz(json_get_str(p, "type"), "Pods"))
            n = up ? start + value : start - value;
        else
            n = up ? (int64_t)ceil((double)start * (1 + (double)value / 100)) : (int64_t)((double)start * (1 - (double)value / 100));
        if (first)
            best = n;
        else /* the larger change unless Min is asked for */
            best = up != least ? MAX(best, n) : MIN(best, n);
        first = false;
    }
    return best;
}

static int64_t stabilized(struct hpa_turn *t, int64_t wished, const struct json *up, const struct json *down)
{
    int64_t up_s = window_of(up, 0), down_s = window_of(down, HPA_STABLE_S), low = wished, high = wished, got = t->replicas;
    for (size_t i = 0; i < t->h->wished.n; i++) {
        const struct hpa_sample *x = &t->h->wished.at[i];
        if (x->when > t->s->now - up_s * NS_PER_S)
            low = MIN(low, x->n);
        if (x->when > t->s->now - down_s * NS_PER_S)
            high = MAX(high, x->n);
    }
    got = MIN(MAX(got, low), high);
    recommend(t, wished, MAX(up_s, down_s));
    if (got == wished)
        hpa_condition(t, "AbleToScale", true, "ReadyForNewScale", STR("recommended size matches current size"));
    else if (wished >= t->replicas)
        hpa_condition(t, "AbleToScale", true, "ScaleUpStabilized",
            STR("recent recommendations were lower than current one, applying the lowest recent recommendation"));
    else
        hpa_condition(t, "AbleToScale", true, "ScaleDownStabilized",
            STR("recent recommendations were higher than current one, applying the highest recent recommendation"));
    return got;
}

static int64_t with_behavior(struct hpa_turn *t, int64_t wished, const struct json *behavior)
{
    const struct json *up = json_get(behavior, STR("scaleUp")), *down = json_get(behavior, STR("scaleDown"));
    int64_t stable = stabilized(t, wished, up, down);
    if (stable > t->replicas) {
        int64_t rate = MAX(allowed(t, up, true), t->replicas);
        return t->max > rate ? limited(t, stable, MIN(stable, rate), "ScaleUpLimit", FASTER)
                             : limited(t, stable, MIN(stable, t->max), "TooManyReplicas", MANY);
    }
    if (stable < t->replicas) {
        int64_t rate = MIN(allowed(t, down, false), t->replicas);
        return t->min < rate ? limited(t, stable, MAX(stable, rate), "ScaleDownLimit", SLOWER)
                             : limited(t, stable, MAX(stable, t->min), "TooFewReplicas", FEW);
    }
    return limited(t, stable, stable, "", "");
}

int64_t hpa_limit(struct hpa_turn *t, int64_t wished)
{
    const struct json *behavior = json_get(t->spec, STR("behavior"));
    return json_is(behavior, JSON_OBJ) ? with_behavior(t, wished, behavior) : plain(t, wished);
}
