/* The part of CoreDNS' configuration language that K3s' users put into the ConfigMap kube-system/coredns-custom, read for our own resolver:
 *
 *     <name>.server     server blocks:  example.com other.org:53 { forward . 10.0.0.1 tls://...   hosts { 10.0.0.5 a b } }
 *     <name>.override   directives of the main block: forward . 1.1.1.1 and hosts { ... }
 *
 * `forward` (its addresses; its own block is skipped) and `hosts` with entries inside it are honoured. Directives that only say how CoreDNS
 * goes about it (errors, log, cache, loop, reload, ready, health, prometheus, loadbalance, bind, ttl...) mean nothing here. Everything else
 * is named in `unknown`, so that somebody is told. Comments begin with #; words may stand in double quotes. Bounded: what is too much is
 * left out and the text counts as broken. Pure.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"
#include "dns/dns.h"

struct corefile {
    struct dns_stub *stubs;
    size_t nstubs;
    struct str *upstreams; /* of the main block, from overrides; none: those of the node */
    size_t nupstreams;
    struct dns_host *hosts;
    size_t nhosts;
    struct str unknown; /* the first directive that is not understood; empty: none */
};
/* Adds what text says to out. ERR_PARSE with the line; what stood before it counts. Strings are views of text. */
int corefile_parse(struct pool *p, struct str text, bool override, struct corefile *out, struct err **e) _must_check_;
