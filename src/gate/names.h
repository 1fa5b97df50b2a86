/* Names: inside the room. services.c feeds, names.c serves. */
#pragma once
#include "dns/dns.h"
#include "gate/impl.h"

void names_service(struct gate *g, const struct dns_service *s);
void names_service_gone(struct gate *g, struct str key /* ns/name */);
