/* Versions of custom resources that a webhook converts (apiextensions.k8s.io/v1 ConversionReview).
 *
 * Converting is asked for in the middle of things (a list's items, a patch, a watch frame), and a webhook answers later. So a step is run
 * twice: the first time what is missing is noted and the step's result thrown away; then all that was noted is asked for at once; the
 * second time everything is there. conv_pending tells that a step's result is of the first kind.
 */
#pragma once
#include "api/call.h"

struct conversions;
/* May a document of the one have to go through a webhook to become the other? Its own apiVersion decides. */
bool conv_by_webhook(const struct schema_resource *from, const struct schema_resource *to);
/* *doc in version `to`, or noted as missing (0 too). ERR_INTERNAL: the webhook could not. */
int conv_convert(
    struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e) _must_check_;
bool conv_pending(const struct call *c);
/* Asks for what is missing; done comes in a later turn. */
void conv_begin(struct call *c, void (*done)(void *arg), void *arg);
void conv_forget(struct call *c); /* what was converted so far is no longer needed (watches) */
