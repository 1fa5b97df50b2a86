/* Socket addresses as text, and back. */
#pragma once
#include <sys/socket.h>
#include "base/err.h"

char *addr_text(const struct sockaddr *sa, socklen_t n) _malloc_; /* "10.0.0.1:80", "[::1]:80", "unix" */
