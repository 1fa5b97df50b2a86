"""Turns a file into a C array: embed.py <output.c> <input> <name>. Makes `const char name[]` and `const size_t name_n`."""
import sys

output, source, name = sys.argv[1:]
data = open(source, "rb").read()
with open(output, "w") as f:
    f.write("#include <stddef.h>\nextern const char %s[];\nextern const size_t %s_n;\nconst char %s[] = {\n" % (name, name, name))
    for i in range(0, len(data), 24):
        f.write(",".join("%d" % (b if b < 128 else b - 256) for b in data[i : i + 24]) + ",\n")
    f.write("0};\nconst size_t %s_n = %d;\n" % (name, len(data)))
