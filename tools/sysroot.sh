#!/usr/bin/env bash
# Makes a folder with the headers and libraries of another Debian architecture that a cross build needs, out of Debian's own packages, without touching this machine's
# package database: tools/sysroot.sh arm64|armhf FOLDER. Needs apt's sources and a network, no root. FOLDER.ini tells
# Meson's cross files (packaging/cross) where it is. `make cross-arm64` calls it.
set -eu
cd "$(dirname "$0")/.."
arch=$1 out=$2
. packaging/deps.sh
wanted="libc6-dev"
for p in $BUILD_PACKAGES; do
  case $p in lib*-dev | zlib1g-dev | linux-libc-dev) wanted="$wanted $p" ;; esac
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
apt=$out/.apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
opts="-o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State=$apt -o Dir::State::lists=$apt/lists -o Dir::State::status=$apt/status
  -o Dir::Cache=$apt/cache -o APT::Sandbox::User= -o Debug::NoLocking=1"
# shellcheck disable=SC2086
apt-get $opts update -qq || echo "sysroot: some of apt's sources failed; going on with the others" >&2
# shellcheck disable=SC2086
apt-get $opts install -qq -y --download-only --no-install-recommends $wanted >/dev/null
for deb in "$apt"/cache/archives/*.deb; do
  dpkg -x "$deb" "$out"
done
# absolute links would lead out of the folder
find "$out" -type l -lname '/*' | while read -r link; do
  ln -sfn "$out$(readlink "$link")" "$link"
done
rm -rf "$apt"
printf "[constants]\nroot = '%s'\n" "$out" >"$out.ini"
