/* The auto-deploy folder: a real folder, a real store. */
#include "fixture.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"

#define SET "namespace,serviceaccount,manifests"
#define MAP(name, value) "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " name "}\ndata: {k: " value "}\n"

static char *folder;

static void put(const char *name, const char *text)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", folder, name);
    struct err *e = NULL;
    FINE(file_replace(path, str_of(text), 0644, &e), e);
}

static void remove_file(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", folder, name);
    EQ(unlink(path), 0);
}

static void start(struct world *w, const struct str *disabled, size_t n)
{
    struct err *e = NULL;
    struct controllers_config c = {.api = w->api, .loop = w->loop, .clock = w->clock, .only = SET};
    c.manifests = (struct controllers_manifests){.dir = folder, .disabled = disabled, .ndisabled = n};
    controllers_stop(w->cs);
    FINE(controllers_start(&c, &w->cs, &e), e);
    world_run(w);
}

static void open_with_folder(struct world *w)
{
    struct err *e = NULL;
    folder = xasprintf("%s/manifests", test_tmpdir());
    if (file_exists(folder))
        FINE(dir_remove(folder, &e), e);
    FINE(dir_make(folder, 0755, &e), e);
    world_open(w, "");
}

static void close_with_folder(struct world *w)
{
    world_close(w);
    free(folder);
}

/* Until the folder's timers have run and the Addon says so (the loop's clock is the machine's). */
static bool wait_state(struct world *w, const char *addon, const char *state)
{
    for (int i = 0; i < 4000; i++) {
        loop_step(w->loop, 5);
        if (i % 8)
            continue;
        world_pass(w, 2);
        struct str now = world_get(w, "k3s.cattle.io/addons", "kube-system", addon)
                             ? world_str(w, "k3s.cattle.io/addons", "kube-system", addon, "/status/state")
                             : STR("gone");
        if (str_eqz(now, state))
            return true;
    }
    return false;
}

static bool wait_map(struct world *w, const char *name, const char *value)
{
    for (int i = 0; i < 4000; i++) {
        struct str now =
            world_get(w, "/configmaps", "default", name) ? world_str(w, "/configmaps", "default", name, "/data/k") : STR("gone");
        if (str_eqz(now, value))
            return true;
        loop_step(w->loop, 5);
        if (i % 8 == 0)
            world_pass(w, 2);
    }
    return false;
}

TEST(files_are_applied_at_start_and_on_change_and_pruned_when_they_go)
{
    struct world w;
    open_with_folder(&w);
    put("app.yaml", MAP("a", "one") "---\n" MAP("b", "one") "---\n# nothing\n");
    put("note.txt", "not a manifest");
    start(&w, NULL, 0);
    OK(wait_map(&w, "a", "one"));
    OK(wait_map(&w, "b", "one"));
    OK(wait_state(&w, "app", "Applied"));
    EQ(world_count(&w, "k3s.cattle.io/addons", "kube-system"), 1);
    OK(world_event(&w, "kube-system", "AppliedManifest"));
    put("app.yaml", MAP("a", "two"));
    OK(wait_map(&w, "a", "two"));
    OK(wait_map(&w, "b", "gone"));
    remove_file("app.yaml");
    OK(wait_map(&w, "a", "gone"));
    OK(wait_state(&w, "app", "gone"));
    close_with_folder(&w);
}

TEST(lists_json_and_subfolders_are_taken_and_a_namespace_comes_before_what_lives_in_it)
{
    struct world w;
    open_with_folder(&w);
    _cleanup_(freep) char *sub = xasprintf("%s/more", folder);
    EQ(mkdir(sub, 0755), 0);
    put("more/list.json", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{"
                          "\"name\":\"x\",\"namespace\":\"later\","
                          "\"resourceVersion\":\"7\",\"uid\":\"u\"},\"data\":{\"k\":\"v\"}},{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
                          "\"metadata\":{\"name\":\"later\"}}]}");
    start(&w, NULL, 0);
    OK(wait_state(&w, "more-list", "Applied"));
    EQ_STR(world_str(&w, "/configmaps", "later", "x", "/data/k"), STR("v"));
    put("more/late.yml", MAP("late", "here")); /* a subfolder is watched too */
    OK(wait_map(&w, "late", "here"));
    close_with_folder(&w);
}

TEST(a_broken_file_changes_nothing_and_says_why)
{
    struct world w;
    open_with_folder(&w);
    put("app.yaml", MAP("a", "one"));
    start(&w, NULL, 0);
    OK(wait_map(&w, "a", "one"));
    put("app.yaml", "apiVersion: v1\nkind: [unclosed\n");
    OK(wait_state(&w, "app", "Failed"));
    OK(world_event(&w, "kube-system", "ParseManifestFailed"));
    EQ_STR(world_str(&w, "/configmaps", "default", "a", "/data/k"), STR("one"));
    put("app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n");
    OK(wait_state(&w, "app", "Failed"));
    put("app.yaml", MAP("a", "two"));
    OK(wait_state(&w, "app", "Applied"));
    EQ_STR(world_str(&w, "/configmaps", "default", "a", "/data/k"), STR("two"));
    /* what cannot be applied is tried again, and the rest of the file stands */
    put("odd.yaml", MAP("odd", "here") "---\napiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n");
    OK(wait_state(&w, "odd", "Failed"));
    OK(str_find(world_str(&w, "k3s.cattle.io/addons", "kube-system", "odd", "/status/message"),
           STR("no matches for kind \"Thing\" in version \"example.com/v1\"")) >= 0);
    OK(wait_map(&w, "odd", "here"));
    _cleanup_(freep) char *pipe = xasprintf("%s/pipe.yaml", folder), *huge = xasprintf("%s/huge.yaml", folder);
    EQ(mkfifo(pipe, 0644), 0);
    int fd = open(huge, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    EQ(ftruncate(fd, 64 << 20), 0);
    close(fd);
    OK(wait_state(&w, "huge", "Failed"));
    OK(!world_get(&w, "k3s.cattle.io/addons", "kube-system", "pipe"));
    close_with_folder(&w);
}

TEST(a_file_that_is_being_written_is_waited_for)
{
    struct world w;
    open_with_folder(&w);
    put("app.yaml", MAP("a", "one") "---\n" MAP("b", "one"));
    start(&w, NULL, 0);
    OK(wait_map(&w, "b", "one"));
    _cleanup_(freep) char *path = xasprintf("%s/app.yaml", folder);
    static const char first[] = MAP("a", "two"), second[] = "---\n" MAP("b", "two");
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    EQ(write(fd, first, sizeof first - 1), (ssize_t)sizeof first - 1);
    int64_t until = clock_mono(NULL) + 2 * NS_PER_S; /* longer than the quiet time: half of it must not be taken */
    while (clock_mono(NULL) < until) {
        world_pass(&w, 1);
        loop_step(w.loop, 20);
        OK(world_get(&w, "/configmaps", "default", "b"));
        EQ_STR(world_str(&w, "/configmaps", "default", "a", "/data/k"), STR("one"));
    }
    EQ(write(fd, second, sizeof second - 1), (ssize_t)sizeof second - 1);
    close(fd);
    OK(wait_map(&w, "b", "two"));
    OK(wait_map(&w, "a", "two"));
    close_with_folder(&w);
}

TEST(what_went_while_the_server_was_away_is_pruned_at_the_next_start_but_not_what_is_skipped_or_foreign)
{
    struct world w;
    open_with_folder(&w);
    put("gone.yaml", MAP("gone", "x"));
    put("kept.yaml", MAP("kept", "x"));
    put("off.yaml", MAP("quit", "x"));
    start(&w, NULL, 0);
    OK(wait_state(&w, "gone", "Applied") && wait_state(&w, "kept", "Applied") && wait_state(&w, "off", "Applied"));
    world_create(&w, "/configmaps", "default", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"foreign\"}}");
    /* somebody writes a list of his own into an Addon: what we did not apply is not ours to delete */
    world_do(&w, API_PATCH_MERGE, "k3s.cattle.io/addons", "kube-system", "gone", "status",
        "{\"status\":{\"objects\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"namespace\":\"default\",\"name\":\"gone\"},{"
        "\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\","
        "\"namespace\":\"default\",\"name\":\"foreign\"}]}}",
        200);
    controllers_stop(w.cs);
    w.cs = NULL;
    remove_file("gone.yaml");
    put("kept.yaml.skip", "");
    put("kept.yaml", MAP("kept", "never"));
    struct str disabled[] = {STR("off")};
    start(&w, disabled, 1);
    OK(wait_map(&w, "gone", "gone"));
    OK(wait_map(&w, "quit", "gone"));
    OK(wait_state(&w, "off", "gone"));
    OK(world_get(&w, "/configmaps", "default", "foreign"));
    EQ_STR(world_str(&w, "/configmaps", "default", "kept", "/data/k"), STR("x"));
    remove_file("kept.yaml.skip");
    OK(wait_map(&w, "kept", "never"));
    close_with_folder(&w);
}

TEST(a_folder_that_disappears_prunes_nothing)
{
    struct world w;
    open_with_folder(&w);
    struct err *e = NULL;
    put("app.yaml", MAP("a", "one"));
    start(&w, NULL, 0);
    OK(wait_state(&w, "app", "Applied"));
    controllers_stop(w.cs);
    w.cs = NULL;
    FINE(dir_remove(folder, &e), e);
    start(&w, NULL, 0);
    OK(world_get(&w, "/configmaps", "default", "a"));
    OK(world_get(&w, "k3s.cattle.io/addons", "kube-system", "app"));
    close_with_folder(&w);
}
