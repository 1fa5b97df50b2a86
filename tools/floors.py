#!/usr/bin/env python3
"""Lays the include floors: for every room a folder of links to the rooms that it may include (see meson.build).

Usage: floors.py SRC OUT, with the table of rooms in $ROOMS as Meson prints it. OUT/all sees every room (programs and tests)."""
import ast
import os
import shutil
import sys

src, out = sys.argv[1:3]
rooms = ast.literal_eval(os.environ["ROOMS"])


def lay(name, seen):
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for room in seen:
        os.symlink(os.path.join(src, room), os.path.join(folder, room))


for i, (name, floor, beside, _) in enumerate(rooms):
    order = [r[0] for r in rooms]
    for b in beside:
        if order.index(b) > i:
            sys.exit(f"floors: {name} may not use {b}: it stands after it")
    lay(name, [r[0] for r in rooms if r[1] < floor or r[0] in beside or r[0] == name])
lay("all", [r[0] for r in rooms])
