/* Megabytes per second of parsing and writing a PodList: ours, and jansson's where its library is installed (loaded by name, the program
 * does not need it). Usage: bench-json [pods]. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "json/json.h"

static const char pod[] =
    "{\"metadata\":{\"name\":\"web-5d4f8c7b9-%05d\",\"namespace\":\"default\",\"uid\":\"3f1b7c1e-0000-4000-8000-%012d\","
    "\"resourceVersion\":\"%d\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\","
    "\"labels\":{\"app\":\"web\",\"pod-template-hash\":\"5d4f8c7b9\"},\"annotations\":{\"example.com/"
    "config\":\"{\\\"a\\\":\\\"b\\\",\\\"c\\\":[1,2,3]}\"},\"ownerReferences\":[{\"apiVersion\":\"apps/v1\","
    "\"kind\":\"ReplicaSet\",\"name\":\"web-5d4f8c7b9\",\"uid\":\"aaaaaaaa-0000-4000-8000-000000000000\",\"controller\":true,"
    "\"blockOwnerDeletion\":true}]},\"spec\":{\"containers\":[{\"name\":\"web\","
    "\"image\":\"registry.example.com/team/"
    "web:v1.2.3\",\"ports\":[{\"containerPort\":8080,\"protocol\":\"TCP\"}],\"env\":[{\"name\":\"A\",\"value\":\"some "
    "value\"},{\"name\":\"NODE\",\"valueFrom\":"
    "{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\"spec.nodeName\"}}}],\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":"
    "\"128Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}},"
    "\"terminationMessagePath\":\"/dev/"
    "termination-log\",\"imagePullPolicy\":\"IfNotPresent\"}],\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,"
    "\"dnsPolicy\":\"ClusterFirst\","
    "\"serviceAccountName\":\"default\",\"nodeName\":\"node-1\",\"schedulerName\":\"default-scheduler\",\"tolerations\":[{\"key\":\"node."
    "kubernetes.io/not-ready\",\"operator\":\"Exists\","
    "\"effect\":\"NoExecute\",\"tolerationSeconds\":300}]},\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\","
    "\"status\":\"True\",\"lastProbeTime\":null,"
    "\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}],\"hostIP\":\"10.0.0.1\",\"podIP\":\"10.42.0.%d\",\"qosClass\":\"Burstable\"}}";

static double rate(size_t bytes, int64_t from)
{
    return (double)bytes / ((double)(clock_mono(NULL) - from) / 1e9) / 1e6;
}

static void ours(struct str text, bool view)
{
    double parse = 0, write = 0;
    size_t memory = 0;
    for (int i = 0; i < 5; i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json_limits l = {.bytes = SIZE_MAX, .nodes = SIZE_MAX, .view = view};
        struct json *j;
        struct err *e = NULL;
        struct buf out = BUF_INIT;
        int64_t t = clock_mono(NULL);
        if (json_parse(p, text, &l, &j, &e) < 0) {
            fprintf(stderr, "%s\n", err_msg(e));
            exit(1);
        }
        parse = MAX(parse, rate(text.n, t));
        memory = pool_size(p);
        t = clock_mono(NULL);
        json_write(&out, j);
        write = MAX(write, rate(out.n, t));
        buf_clear(&out);
    }
    printf("sampan%s: parse %.0f MB/s, write %.0f MB/s, tree %.1f x the text\n", view ? ", views" : "", parse, write,
        (double)memory / (double)text.n);
}

static void jansson(struct str text)
{
    void *lib = dlopen("libjansson.so.4", RTLD_NOW);
    if (!lib) {
        printf("jansson: not installed\n");
        return;
    }
    /* json_loadb(const char *, size_t, size_t flags, json_error_t *), json_dumps(const json_t *, size_t flags) */
    void *(*load)(const char *, size_t, size_t, void *) =
        (void *(*)(const char *, size_t, size_t, void *))(uintptr_t)dlsym(lib, "json_loadb");
    char *(*dump)(const void *, size_t) = (char *(*)(const void *, size_t))(uintptr_t)dlsym(lib, "json_dumps");
    if (!load || !dump)
        return;
    int64_t t = clock_mono(NULL);
    void *j = load(text.p, text.n, 0, NULL);
    double parse = rate(text.n, t);
    t = clock_mono(NULL);
    char *out = j ? dump(j, 0x20 /* compact */) : NULL;
    printf("jansson: parse %.0f MB/s, write %.0f MB/s\n", parse, out ? rate(strlen(out), t) : 0.0);
    free(out);
}

int main(int argc, char **argv)
{
    int pods = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 4000;
    struct buf b = BUF_INIT;
    buf_puts(&b, "{\"apiVersion\":\"v1\",\"kind\":\"PodList\",\"items\":[");
    for (int i = 0; i < pods; i++) {
        buf_puts(&b, i ? "," : "");
        buf_printf(&b, pod, i, i, i, i % 250);
    }
    buf_puts(&b, "]}");
    printf("PodList of %d pods, %.2f MB\n", pods, (double)b.n / 1e6);
    ours(buf_str(&b), false);
    ours(buf_str(&b), true);
    jansson(buf_str(&b));
    buf_clear(&b);
    return 0;
}
