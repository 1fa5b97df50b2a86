#include "fixture.h"

#define CM "/api/v1/namespaces/default/configmaps"

static struct str next(struct fixture *f, struct lines *l, struct json **o)
{
    struct json *j = lines_next(f, l, 3000);
    *o = json_get(j, STR("object"));
    return json_get_str(j, "type");
}

TEST(a_watch_from_now_shows_what_is_there_and_then_what_happens)
{
    struct fixture *f = fixture_new();
    struct json *o;
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}");
    struct lines *l = lines_open(f, CM "?watch=1");
    EQ_STR(next(f, l, &o), STR("ADDED"));
    EQ_STR(at(o, "metadata.name"), STR("a"));
    want(f, 200, "PUT", CM "/a", "{\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":\"y\"}}");
    EQ_STR(next(f, l, &o), STR("MODIFIED"));
    EQ_STR(at(o, "data.x"), STR("y"));
    struct str rv = at(o, "metadata.resourceVersion");
    want(f, 200, "DELETE", CM "/a", NULL);
    EQ_STR(next(f, l, &o), STR("DELETED"));
    OK(!str_eq(at(o, "metadata.resourceVersion"), rv));
    lines_close(l);
    l = lines_open(f, pool_printf(f->pool, CM "?watch=1&resourceVersion=%.*s", STR_ARG(rv)).p);
    EQ_STR(next(f, l, &o), STR("DELETED"));
    lines_close(l);
    fixture_free(f);
}

TEST(a_selector_that_starts_or_stops_to_match_becomes_added_or_deleted)
{
    struct fixture *f = fixture_new();
    struct json *o;
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}");
    struct str rv = at(want(f, 200, "GET", CM, NULL), "metadata.resourceVersion");
    struct lines *l = lines_open(f, pool_printf(f->pool, CM "?watch=1&labelSelector=x%%3Dy&resourceVersion=%.*s", STR_ARG(rv)).p);
    want(f, 200, "PUT", CM "/a", "{\"metadata\":{\"name\":\"a\",\"labels\":{\"x\":\"y\"}}}");
    EQ_STR(next(f, l, &o), STR("ADDED"));
    struct json *last = want(f, 200, "PUT", CM "/a", "{\"metadata\":{\"name\":\"a\",\"labels\":{\"x\":\"z\"}}}");
    EQ_STR(next(f, l, &o), STR("DELETED"));
    EQ_STR(at(o, "metadata.labels.x"), STR("y"));
    EQ_STR(at(o, "metadata.resourceVersion"), at(last, "metadata.resourceVersion"));
    lines_close(l);
    fixture_free(f);
}

TEST(initial_events_end_with_a_marked_bookmark)
{
    struct fixture *f = fixture_new();
    struct json *o;
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}");
    struct lines *l = lines_open(f, CM "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    EQ_STR(next(f, l, &o), STR("ADDED"));
    EQ_STR(next(f, l, &o), STR("BOOKMARK"));
    EQ_STR(json_as_str(json_get(json_path(o, "metadata", "annotations", NULL), STR("k8s.io/initial-events-end"))), STR("true"));
    lines_close(l);
    fixture_free(f);
}

TEST(a_watch_ends_at_its_timeout_with_a_bookmark)
{
    struct fixture *f = fixture_new();
    struct json *o;
    struct lines *l = lines_open(f, CM "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true");
    EQ_STR(next(f, l, &o), STR("BOOKMARK"));
    EQ_STR(at(o, "kind"), STR("ConfigMap"));
    OK(!lines_next(f, l, 1000));
    OK(lines_ended(l));
    lines_close(l);
    fixture_free(f);
}

TEST(only_the_first_table_frame_names_the_columns)
{
    struct fixture *f = fixture_new();
    struct json *o;
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}");
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"b\"}}");
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    struct lines *l = lines_open(f, CM "?watch=1");
    EQ_STR(next(f, l, &o), STR("ADDED"));
    EQ_STR(at(o, "columnDefinitions.0.name"), STR("Name"));
    EQ_STR(next(f, l, &o), STR("ADDED"));
    EQ(json_count(json_get(o, STR("columnDefinitions"))), 0);
    EQ_STR(at(o, "rows.0.cells.0"), STR("b"));
    lines_close(l);
    fixture_free(f);
}

TEST(a_watch_of_one_object_shows_no_other)
{
    struct fixture *f = fixture_new();
    struct json *o;
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}");
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"b\"}}");
    struct lines *l = lines_open(f, CM "?watch=1&fieldSelector=metadata.name%3Db");
    EQ_STR(next(f, l, &o), STR("ADDED"));
    EQ_STR(at(o, "metadata.name"), STR("b"));
    struct lines *old = lines_open(f, "/api/v1/watch/namespaces/default/configmaps/b");
    EQ_STR(next(f, old, &o), STR("ADDED"));
    EQ_STR(at(o, "metadata.name"), STR("b"));
    want(f, 200, "DELETE", CM "/a", NULL);
    want(f, 200, "DELETE", CM "/b", NULL);
    EQ_STR(next(f, l, &o), STR("DELETED"));
    EQ_STR(at(o, "metadata.name"), STR("b"));
    EQ_STR(next(f, old, &o), STR("DELETED"));
    EQ_STR(at(o, "metadata.name"), STR("b"));
    lines_close(l);
    lines_close(old);
    fixture_free(f);
}
