/* What volumes and claims share. Inside the room only. */
#pragma once
#include "kinds/cell.h"

struct str volume_modes(struct pool *p, const struct json *modes); /* "RWO,ROX" */
struct str volume_class(const struct json *doc);                   /* spec.storageClassName, or the old annotation */
