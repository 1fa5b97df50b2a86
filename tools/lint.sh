#!/usr/bin/env bash
# Static analysis of src/ with cppcheck; any finding fails. Results of files that did not change are kept in FOLDER: the first run takes half a minute of processor time, later
# ones a second or two. tools/lint.sh FOLDER INCLUDES, where INCLUDES is inc/all of a build folder (the rooms' headers).
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
found=$(cppcheck --cppcheck-build-dir="$1" --enable=warning,portability --inline-suppr --std=c11 --quiet -j"$(nproc)" -I"$2" -D_GNU_SOURCE -D__CPPCHECK__ \
  '-DSAMPAN_VERSION="0"' -D__x86_64__ --include=tools/cppcheck.h --suppressions-list=tools/cppcheck.supp \
  --suppress=missingIncludeSystem --template='{file}:{line}: {severity}: {message} [{id}]' src 2>&1) || { echo "$found"; exit 1; }
[ -z "$found" ] || { echo "$found" | sort -u; exit 1; }
