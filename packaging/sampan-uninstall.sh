#!/bin/sh
# Removes Sampan from this machine: everything that install.sh put there, and all state. --keep-data leaves /var/lib/sampan and /etc/sampan.
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 1; }
here=$(dirname "$(readlink -f "$0")")
"$here/sampan-killall.sh"
if [ -d /run/systemd/system ] && [ -f /etc/systemd/system/sampan.service ]; then
  systemctl disable -q sampan
  rm -f /etc/systemd/system/sampan.service
  systemctl daemon-reload
fi
[ -f /etc/init.d/sampan ] && { rc-update -q del sampan; rm -f /etc/init.d/sampan; }
[ "${1:-}" = --keep-data ] || rm -rf /var/lib/sampan /etc/sampan /var/log/sampan.log
rm -rf /run/sampan /run/sampan-run.pid
[ "${1:-}" = --keep-data ] || { getent passwd sampan >/dev/null && userdel sampan; }
rm -f "$here/sampan" "$here/sampan-run.sh" "$here/sampan-killall.sh" "$here/sampan-uninstall.sh"
echo "sampan is removed; Debian packages that it needed are left in place"
