#include <arpa/inet.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cel/regex.h"
#include "schema/selector.h"
#include "schema/structural.h"

/* The string formats that Kubernetes checks in custom resources (apiextensions' supported formats; kube-openapi's strfmt). */

static bool by_pattern(struct str s, const char *pattern)
{
    _cleanup_(regex_freep) struct regex *r = NULL;
    return regex_new(str_of(pattern), &r, NULL) == 0 && regex_match(r, s);
}

static bool is_ip(struct str s, int family)
{
    char text[64];
    unsigned char out[16];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(family, text, out) == 1;
}

static bool is_cidr(struct str s)
{
    struct str host, bits;
    uint64_t n;
    if (!str_cut(s, '/', &host, &bits) || !str_to_u64(bits, &n))
        return false;
    return (is_ip(host, AF_INET) && n <= 32) || (is_ip(host, AF_INET6) && n <= 128);
}

static bool is_uri(struct str s)
{
    return by_pattern(s, "^([a-zA-Z][a-zA-Z0-9+.-]*:[^\\s]+|/[^\\s]*|\\*)$");
}

static bool is_date_time(struct str s)
{
    int64_t ns;
    return time_parse(s, &ns);
}

/* Go's time.ParseDuration, or "3 days" as Scala's. */
static bool is_duration(struct str s)
{
    return by_pattern(s, "^[-+]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|\xc2\xb5s|\xce\xbcs|ms|s|m|h))+)$") ||
           by_pattern(s,
               "^[0-9]+\\s*(ns|nano|nanos|nanosecond|nanoseconds|us|\xc2\xb5s|micro|micros|microsecond|microseconds|ms|milli|millis|"
               "millisecond|milliseconds|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hour|hours|d|day|days|w|wk|week|weeks)$");
}

static bool is_base64(struct str s)
{
    struct buf b = BUF_INIT;
    bool ok = s.n && buf_unbase64(&b, s);
    buf_clear(&b);
    return ok;
}

static bool is_date(struct str s)
{
    struct buf b = BUF_INIT;
    int64_t ns;
    buf_printf(&b, "%.*sT00:00:00Z", STR_ARG(s));
    bool ok = s.n == 10 && time_parse(buf_str(&b), &ns);
    buf_clear(&b);
    return ok;
}

static size_t digits_of(struct str s, char *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '-' || s.p[i] == ' ')
            continue;
        if (n == max)
            return max + 1;
        out[n++] = s.p[i];
    }
    return n;
}

static bool is_isbn10(struct str s)
{
    char d[10];
    int sum = 0;
    if (digits_of(s, d, 10) != 10)
        return false;
    for (int i = 0; i < 10; i++) {
        bool x = i == 9 && (d[i] == 'X' || d[i] == 'x');
        if (!x && (d[i] < '0' || d[i] > '9'))
            return false;
        sum += (10 - i) * (x ? 10 : d[i] - '0');
    }
    return sum % 11 == 0;
}

static bool is_isbn13(struct str s)
{
    char d[13];
    int sum = 0;
    if (digits_of(s, d, 13) != 13)
        return false;
    for (int i = 0; i < 13; i++) {
        if (d[i] < '0' || d[i] > '9')
            return false;
        sum += (i % 2 ? 3 : 1) * (d[i] - '0');
    }
    return sum % 10 == 0;
}

static bool is_isbn(struct str s)
{
    return is_isbn10(s) || is_isbn13(s);
}

static bool is_credit_card(struct str s)
{
    char d[32];
    size_t n = digits_of(s, d, sizeof d);
    int sum = 0;
    if (n < 13 || n > 16)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (d[i] < '0' || d[i] > '9')
            return false;
        int v = d[i] - '0';
        if ((n - i) % 2 == 0 && (v *= 2) > 9)
            v -= 9;
        sum += v;
    }
    return sum % 10 == 0;
}

static bool is_ipv4(struct str s)
{
    return is_ip(s, AF_INET);
}
static bool is_ipv6(struct str s)
{
    return is_ip(s, AF_INET6);
}
static bool is_short_name(struct str s)
{
    return !name_dns1123_label(s);
}
static bool is_long_name(struct str s)
{
    return !name_dns1123_subdomain(s);
}

#define HEX8 "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?"
static const struct {
    const char *name;
    bool (*fn)(struct str s);
    const char *pattern;
} formats[] = {
    {"bsonobjectid", NULL, "^[0-9a-fA-F]{24}$"},
    {"uri", is_uri, NULL},
    {"email", NULL, "^[^@\\s<>]+@[^@\\s<>]+$"},
    {"hostname", NULL, "^([a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?)(\\.[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?)*\\.?$"},
    {"ipv4", is_ipv4, NULL},
    {"ipv6", is_ipv6, NULL},
    {"cidr", is_cidr, NULL},
    {"mac", NULL, "^(([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|([0-9a-fA-F]{2}[:-]){7}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\\.){2,3}[0-9a-fA-F]{4})$"},
    {"uuid", NULL, HEX8 "[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"},
    {"uuid3", NULL, HEX8 "3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"},
    {"uuid4", NULL, HEX8 "4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"},
    {"uuid5", NULL, HEX8 "5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"},
    {"isbn", is_isbn, NULL},
    {"isbn10", is_isbn10, NULL},
    {"isbn13", is_isbn13, NULL},
    {"creditcard", is_credit_card, NULL},
    {"ssn", NULL, "^\\d{3}[- ]?\\d{2}[- ]?\\d{4}$"},
    {"hexcolor", NULL, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"},
    {"rgbcolor", NULL, "^rgb\\(\\s*([01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])\\s*(,\\s*([01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])\\s*){2}\\)$"},
    {"byte", is_base64, NULL},
    {"password", NULL, NULL},
    {"date", is_date, NULL},
    {"duration", is_duration, NULL},
    {"datetime", is_date_time, NULL},
    {"k8sshortname", is_short_name, NULL},
    {"k8slongname", is_long_name, NULL},
};

/* "date-time" and "datetime" are one. */
static size_t find(struct str format)
{
    char plain[32];
    size_t n = 0, i = 0;
    for (size_t k = 0; k < format.n; k++) {
        if (format.p[k] == '-')
            continue;
        if (n == sizeof plain)
            return ARRAY_LEN(formats);
        plain[n++] = format.p[k];
    }
    while (i < ARRAY_LEN(formats) && !str_eqz(str_make(plain, n), formats[i].name))
        i++;
    return i;
}

bool cr_format_known(struct str format)
{
    return find(format) < ARRAY_LEN(formats);
}

const char *cr_format_wrong(struct str format, struct str text)
{
    size_t i = find(format);
    if (i == ARRAY_LEN(formats))
        return NULL;
    bool ok = formats[i].fn ? formats[i].fn(text) : !formats[i].pattern || by_pattern(text, formats[i].pattern);
    return ok ? NULL : formats[i].name;
}
