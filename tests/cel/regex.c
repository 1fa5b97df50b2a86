#include "cel/regex.h"

#include "harness.h"

static bool matches(const char *pattern, const char *text)
{
    struct err *e = NULL;
    struct regex *r = NULL;
    FINE(regex_new(str_of(pattern), &r, &e), e);
    bool m = regex_match(r, str_of(text));
    regex_free(r);
    return m;
}

static void finds(const char *pattern, const char *text, const char *what)
{
    struct err *e = NULL;
    struct regex *r = NULL;
    size_t from = 0, to = 0;
    FINE(regex_new(str_of(pattern), &r, &e), e);
    OK(regex_find(r, str_of(text), 0, &from, &to));
    EQ_STR(str_make(text + from, to - from), str_of(what));
    regex_free(r);
}

static void refused(const char *pattern, const char *why)
{
    struct err *e = NULL;
    struct regex *r = NULL;
    OK(regex_new(str_of(pattern), &r, &e) < 0);
    EQ_Z(err_msg(e), why);
    err_free(e);
}

TEST(a_pattern_matches_anywhere_unless_it_is_anchored)
{
    OK(matches("b+", "abbc"));
    OK(!matches("^b", "abbc"));
    OK(matches("^a.*c$", "abbc"));
    OK(matches("", ""));
    OK(matches("^$", ""));
    OK(!matches("^$", "x"));
    OK(matches("(?m)^b$", "a\nb\nc"));
    OK(!matches("a.b", "a\nb"));
    OK(matches("(?s)a.b", "a\nb"));
}

TEST(classes_escapes_and_counts_are_those_of_re2)
{
    OK(matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b9"));
    OK(!matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-"));
    OK(matches("^\\d{1,3}(\\.\\d{1,3}){3}$", "10.0.0.255"));
    OK(!matches("^\\d{1,3}(\\.\\d{1,3}){3}$", "10.0.0"));
    OK(matches("^[^\\s/]+$", "a\xc3\xa4"));
    OK(matches("^[[:alpha:]_]+$", "aB_"));
    OK(matches("^\\x41\\x{42}$", "AB"));
    OK(matches("(?i)^straSSe$", "STRAsse"));
    OK(matches("\\bfoo\\b", "a foo b"));
    OK(!matches("\\bfoo\\b", "afoo b"));
    OK(matches("^a{2,}$", "aaaa"));
    OK(matches("^x{,2}$", "x{,2}"));
    OK(matches("^[]a]+$", "]a"));
    OK(matches("^\\Qa.b\\E$", "a.b"));
    OK(!matches("^\\Qa.b\\E$", "axb"));
}

TEST(the_leftmost_match_is_found_as_perl_prefers_it)
{
    finds("a|ab", "xab", "a");
    finds("(?:ab|a)b?", "xabb", "abb");
    finds("a+?", "aaa", "a");
    finds("a*", "baaa", "");
    finds("[0-9]+", "ab123c45", "123");
    finds("(a+)(b+)?", "xaabb", "aabb");
}

TEST(what_makes_others_backtrack_stays_linear)
{
    char text[5001];
    memset(text, 'a', 5000);
    text[5000] = 0;
    OK(!matches("^(a+)+$", text) == false);
    text[4999] = '!';
    OK(!matches("^(a+)+$", text));
    OK(!matches("(a?){50}a{50}b", text));
}

TEST(a_wrong_pattern_is_refused_in_gos_words)
{
    refused("a(b", "error parsing regexp: missing closing ): `a(b`");
    refused("a)", "error parsing regexp: unexpected ): `a)`");
    refused("[a", "error parsing regexp: missing closing ]: `[a`");
    refused("*", "error parsing regexp: missing argument to repetition operator: `*`");
    refused("a**", "error parsing regexp: invalid nested repetition operator: `**`");
    refused("[z-a]", "error parsing regexp: invalid character class range: `z-a`");
    refused("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`");
    refused("a{2,1}", "error parsing regexp: invalid repeat count: `{2,1}`");
    refused("((a{1000}){1000}){1000}", "error parsing regexp: expression too large");
}
