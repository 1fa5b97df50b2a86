#include "schema/selector.h"

/* Kubernetes' regular expressions are part of its messages; here the grammars are checked by hand. */
#define RE_LABEL "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define RE_KEY "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
#define MSG_LABEL                                                                                                                          \
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "   \
    "character "                                                                                                                           \
    "(e.g. 'my-name',  or '123-abc', regex used for validation is '" RE_LABEL "')"
#define MSG_SUBDOMAIN                                                                                                                      \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "       \
    "alphanumeric "                                                                                                                        \
    "character (e.g. 'example.com', regex used for validation is '" RE_LABEL "(\\." RE_LABEL ")*')"
#define MSG_KEY                                                                                                                            \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or " \
    "'my.name',  or '123-abc', regex used for validation is '" RE_KEY "')"
#define MSG_VALUE                                                                                                                          \
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "        \
    "alphanumeric "                                                                                                                        \
    "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '((" RE_KEY ")?')"

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_alnum(char c)
{
    return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

static bool label_shape(struct str s)
{
    if (!s.n || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

static bool subdomain_shape(struct str s)
{
    struct str rest = s, piece;
    if (!s.n)
        return false;
    while (str_split(&rest, '.', &piece))
        if (!label_shape(piece))
            return false;
    return true;
}

static bool key_shape(struct str s)
{
    if (!s.n || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    return true;
}

const char *name_dns1123_label(struct str s)
{
    if (s.n > 63)
        return "must be no more than 63 bytes";
    if (label_shape(s))
        return NULL;
    return subdomain_shape(s) ? "must not contain dots" : MSG_LABEL;
}

const char *name_dns1123_subdomain(struct str s)
{
    if (s.n > 253)
        return "must be no more than 253 bytes";
    return subdomain_shape(s) ? NULL : MSG_SUBDOMAIN;
}

const char *name_dns1035_label(struct str s)
{
    if (s.n > 63)
        return "must be no more than 63 bytes";
    if (label_shape(s) && is_lower(s.p[0]))
        return NULL;
    return "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with "
           "an alphanumeric "
           "character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
}

const char *name_path_segment(struct str s)
{
    if (str_eqz(s, "."))
        return "may not be '.'";
    if (str_eqz(s, ".."))
        return "may not be '..'";
    if (str_chr(s, '/') >= 0)
        return "may not contain '/'";
    return str_chr(s, '%') >= 0 ? "may not contain '%'" : NULL;
}

const char *name_qualified(struct str s)
{
    struct str prefix = STR_NULL, name = s;
    if (str_cut(s, '/', &prefix, &name)) {
        if (str_chr(name, '/') >= 0)
            return "a valid label key " MSG_KEY " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        if (!prefix.n)
            return "prefix part must be non-empty";
        if (prefix.n > 253)
            return "prefix part must be no more than 253 bytes";
        if (!subdomain_shape(prefix))
            return "prefix part " MSG_SUBDOMAIN;
    }
    if (!name.n)
        return "name part must be non-empty; name part " MSG_KEY;
    if (name.n > 63)
        return "name part must be no more than 63 bytes";
    return key_shape(name) ? NULL : "name part " MSG_KEY;
}

const char *name_label_value(struct str s)
{
    if (s.n > 63)
        return "must be no more than 63 bytes";
    return !s.n || key_shape(s) ? NULL : MSG_VALUE;
}

const char *name_config_key(struct str s)
{
    if (s.n > 253)
        return "must be no more than 253 characters";
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            s.n = 0;
    if (!s.n)
        return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
               "'key-name', regex used for "
               "validation is '[-._a-zA-Z0-9]+')";
    if (str_eqz(s, "."))
        return "must not be '.'";
    if (str_eqz(s, ".."))
        return "must not be '..'";
    return str_starts(s, STR("..")) ? "must not start with '..'" : NULL;
}

const char *name_env_var(struct str s)
{
    if (!s.n)
        return "environment variable name must be non-empty";
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '=')
            return "a valid environment variable name must consist only of printable ASCII characters other than '='";
    return NULL;
}

const char *name_port(struct str s)
{
    bool letter = false;
    if (s.n > 15)
        return "must be no more than 15 characters";
    for (size_t i = 0; i < s.n; i++) {
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-')
            return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        letter |= is_lower(s.p[i]);
    }
    if (!letter)
        return "must contain at least one letter (a-z)";
    if (str_find(s, STR("--")) >= 0)
        return "must not contain consecutive hyphens";
    return s.p[0] == '-' || s.p[s.n - 1] == '-' ? "must not begin or end with a hyphen" : NULL;
}
