/* Runs a fuzz target over every file of a corpus folder: the test command's use of the corpus, with no fuzzer installed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    size_t cap = 4u << 20;
    uint8_t *p = malloc(cap);
    size_t n = p ? fread(p, 1, cap, f) : 0;
    fclose(f);
    if (p) {
        /* exactly sized, so that the sanitizer sees a read past the end */
        uint8_t *q = malloc(n ? n : 1);
        for (size_t i = 0; q && i < n; i++)
            q[i] = p[i];
        if (q)
            LLVMFuzzerTestOneInput(q, n);
        free(q);
    }
    free(p);
    return 0;
}

int main(int argc, char **argv)
{
    int runs = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    if (argc < 2)
        return 2;
    DIR *d = opendir(argv[1]);
    if (!d) {
        fprintf(stderr, "replay: no corpus at %s\n", argv[1]);
        return 1;
    }
    for (struct dirent *ent; (ent = readdir(d));) {
        char path[4096];
        if (ent->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], ent->d_name);
        runs += replay(path) == 0;
    }
    closedir(d);
    printf("replayed %d inputs\n", runs);
    return runs > 0 ? 0 : 1;
}
