#!/bin/sh
# Removes Sampan from this machine: everything that install.sh put there, and all state. --keep-data leaves /var/lib/sampan, /etc/sampan and the user; --keep-user the user.
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 1; }
here=$(dirname "$(readlink -f "$0")")
"$here/sampan-killall.sh"
if [ -d /run/systemd/system ] && [ -f /etc/systemd/system/sampan.service ]; then
  systemctl disable -q sampan
  rm -f /etc/systemd/system/sampan.service
  systemctl daemon-reload
fi
[ -f /etc/init.d/sampan ] && { rc-update -q del sampan; rm -f /etc/init.d/sampan; }
if [ "${1:-}" != --keep-data ]; then
  rm -rf /var/lib/sampan/* /etc/sampan/*
  rm -rf /var/lib/sampan /etc/sampan /var/log/sampan.log 2>/dev/null
  [ "${1:-}" = --keep-user ] || { getent passwd sampan >/dev/null && userdel sampan; }
fi
rm -rf /run/sampan /run/sampan-run.pid 2>/dev/null
rm -f "$here/sampan" "$here/sampan-run.sh" "$here/sampan-killall.sh" "$here/sampan-uninstall.sh"
echo "sampan is removed; Debian packages that it needed are left in place"
