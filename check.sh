#!/usr/bin/env bash
# Installs what the tests need, builds with sanitizers and runs every test. Ends with "N passed, N failed"; the exit code is 0 only when none failed.
#   ./check.sh            everything
#   ./check.sh unit       unit tests and fuzz replays only
#   ./check.sh e2e [-k X] end to end only; further words go to pytest
set -eu
cd "$(dirname "$0")"
what=${1:-all}
[ $# -gt 0 ] && shift

. packaging/deps.sh
need_packages "$BUILD_PACKAGES $RUN_PACKAGES $TEST_PACKAGES"
need_user

jobs=$(nproc)
[ -f build/check/build.ninja ] ||
  meson setup build/check --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
ninja -C build/check -j "$jobs" --quiet

exec /usr/bin/python3 tools/check.py --build build/check --what "$what" -- "$@"
