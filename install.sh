#!/usr/bin/env bash
# Sampan on this machine, from this checkout: dependencies, build, install, a running cluster, an example that answers. A second run changes nothing that is
# as it should be. Undo: sampan-uninstall.sh. Stop everything: sampan-killall.sh.
#
# Settings, in the environment (as K3s has them):
#   INSTALL_SAMPAN_BIN_DIR     where the program goes                  (/usr/local/bin)
#   INSTALL_SAMPAN_EXEC        server, agent, hub or connect, and its flags (server)
#   INSTALL_SAMPAN_SKIP_START  true: install, do not start
#   INSTALL_SAMPAN_SKIP_EXAMPLE true: start, do not apply the example
#   SAMPAN_URL, SAMPAN_TOKEN   given: this machine becomes an agent of that server
set -eu
cd "$(dirname "$0")"

BIN_DIR=${INSTALL_SAMPAN_BIN_DIR:-/usr/local/bin}
EXEC=${INSTALL_SAMPAN_EXEC:-}
[ -n "$EXEC" ] || { if [ -n "${SAMPAN_URL:-}" ]; then EXEC=agent; else EXEC=server; fi; }
ROLE=${EXEC%% *}
DATA=/var/lib/sampan
CONF=/etc/sampan
ENV_FILE=$CONF/sampan.env
KUBECONFIG_FILE=$CONF/sampan.yaml

say() { echo "[sampan] $*"; }
fail() { echo "[sampan] $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "run as root"
case $ROLE in server|agent|hub|connect) ;; *) fail "INSTALL_SAMPAN_EXEC must begin with server, agent, hub or connect" ;; esac

. packaging/deps.sh
say "packages"
need_packages "$BUILD_PACKAGES $RUN_PACKAGES"
need_user

say "build (release)"
[ -f build/release/build.ninja ] || meson setup build/release --buildtype=release -Doptimization=2 -Db_lto=true -Db_pie=true -Dtests=false >/dev/null
ninja -C build/release --quiet

changed=false
put() { # put MODE FROM TO: installs when different
  if ! cmp -s "$2" "$3"; then
    mkdir -p "$(dirname "$3")"
    install -m "$1" "$2" "$3.new" && mv "$3.new" "$3"
    changed=true
    say "installed $3"
  fi
}
put 755 build/release/sampan "$BIN_DIR/sampan"
put 755 packaging/sampan-killall.sh "$BIN_DIR/sampan-killall.sh"
put 755 packaging/sampan-uninstall.sh "$BIN_DIR/sampan-uninstall.sh"
put 755 packaging/sampan-run.sh "$BIN_DIR/sampan-run.sh"
mkdir -p "$CONF"

# What the service runs with. Secrets go here (0600), never into a command line.
umask 077
{
  echo "SAMPAN_EXEC='$EXEC'"
  for v in SAMPAN_URL SAMPAN_TOKEN SAMPAN_HUB SAMPAN_HUB_TOKEN; do
    eval "value=\${$v:-}"
    [ -z "$value" ] || echo "$v='$value'"
  done
} > "$ENV_FILE.new"
if cmp -s "$ENV_FILE.new" "$ENV_FILE"; then rm "$ENV_FILE.new"; else mv "$ENV_FILE.new" "$ENV_FILE"; changed=true; fi
umask 022

init=none
if [ -d /run/systemd/system ]; then init=systemd; elif command -v rc-service >/dev/null 2>&1; then init=openrc; fi
case $init in
  systemd)
    sed "s#@BIN@#$BIN_DIR#g; s#@EXEC@#$EXEC#g" packaging/sampan.service > build/sampan.service
    put 644 build/sampan.service /etc/systemd/system/sampan.service ;;
  openrc)
    sed "s#@BIN@#$BIN_DIR#g; s#@EXEC@#$EXEC#g" packaging/sampan.openrc > build/sampan.openrc
    put 755 build/sampan.openrc /etc/init.d/sampan ;;
esac

if [ "${INSTALL_SAMPAN_SKIP_START:-}" = true ]; then
  say "installed, not started"
  exit 0
fi

running() { [ -f /run/sampan-run.pid ] && kill -0 "$(cat /run/sampan-run.pid)" 2>/dev/null; }
case $init in
  systemd) systemctl daemon-reload; systemctl enable -q sampan; if $changed; then systemctl restart sampan; else systemctl start sampan; fi ;;
  openrc) rc-update -q add sampan default; if $changed; then rc-service sampan restart; else rc-service sampan start; fi ;;
  none)
    if running && $changed; then "$BIN_DIR/sampan-run.sh" stop; fi
    running || "$BIN_DIR/sampan-run.sh" start ;;
esac
say "started sampan $EXEC ($init)"
[ "$ROLE" = server ] || { say "log: $( [ $init = systemd ] && echo 'journalctl -u sampan' || echo /var/log/sampan.log )"; exit 0; }

# ---- show that it works ----
sampan() { "$BIN_DIR/sampan" "$@"; }
wait_until() { # wait_until SECONDS WHAT COMMAND...
  local end=$(( $(date +%s) + $1 )) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || fail "$what: not within time; see /var/log/sampan.log or journalctl -u sampan"
    sleep 0.3
  done
}
NODE=$(hostname | tr 'A-Z' 'a-z')
wait_until 60 "the API" sampan get --raw /readyz
wait_until 90 "node $NODE Ready" sh -c "'$BIN_DIR/sampan' get node '$NODE' | grep -qw Ready"
say "node $NODE is Ready"
[ "${INSTALL_SAMPAN_SKIP_EXAMPLE:-}" = true ] && exit 0

if ! sampan image ls | grep -Eq '^sampan\.io/busybox +1 '; then
  python3 tools/busybox_image.py build/busybox.tar sampan.io/busybox:1
  sampan image import build/busybox.tar
fi
sampan apply -f examples/hello.yaml
wait_until 90 "two replicas of hello" sh -c "'$BIN_DIR/sampan' get deployment hello | grep -qw 2/2"
sampan get pods -o wide
IP=$(sampan get service hello | awk 'NR == 2 {print $3}')
POD=$(sampan get pods -l app=hello | awk 'NR == 2 {print $1}')
fetch() { python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode().strip())' "$1"; }
wait_until 30 "the Service" fetch "http://$IP/"
say "http://$IP/ (ClusterIP) answers: $(fetch "http://$IP/")"
say "http://hello/ (name, asked in pod $POD) answers: $(sampan exec "$POD" -- wget -qO- http://hello/)"
say "done. kubeconfig: $KUBECONFIG_FILE   join token: sampan token show   stop: sampan-killall.sh   undo: sampan-uninstall.sh"
