#!/usr/bin/env python3
"""Turns the pause program into a C array: embed.py PROGRAM OUT.c"""
import sys

data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "w") as out:
    out.write('#include "runtime/sandbox.h"\nconst unsigned char pause_program[] = {')
    for i, b in enumerate(data):
        out.write(("\n    " if i % 24 == 0 else "") + f"{b},")
    out.write("\n};\nconst size_t pause_program_size = sizeof pause_program;\n")
