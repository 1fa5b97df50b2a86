#!/bin/sh
# Stops Sampan and every pod on this machine, and takes its links and rules out of the kernel. State on disk stays; `sampan-uninstall.sh` removes that too.
# Only what Sampan made is touched: its service, processes in its cgroups, its network links and its nftables table.
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 1; }
DATA=${1:-/var/lib/sampan}
CGROUP=${2:-sampan}

if [ -d /run/systemd/system ] && systemctl cat sampan >/dev/null 2>&1; then systemctl stop sampan
elif [ -x /etc/init.d/sampan ] && command -v rc-service >/dev/null 2>&1; then rc-service sampan stop
else "$(dirname "$(readlink -f "$0")")/sampan-run.sh" stop; fi

in_cgroup() { # pids of every process in a cgroup of ours
  for top in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -d "$top/$CGROUP" ] && find "$top/$CGROUP" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -u
}
monitors() { # conmon of our containers, known by the folder that it works in
  for p in /proc/[0-9]*; do
    grep -qz "^$DATA/agent/" "$p/cmdline" 2>/dev/null && grep -qa conmon "$p/comm" 2>/dev/null && echo "${p#/proc/}"
  done
}
for round in 1 2 3 4 5; do
  pids=$(in_cgroup; monitors)
  [ -z "$pids" ] && break
  # shellcheck disable=SC2086
  kill -9 $pids 2>/dev/null
  sleep 0.3
done

awk -v d="$DATA/agent/" -v r="/run/sampan/" 'index($2, d) == 1 || index($2, r) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r m; do umount -l "$m"; done
for top in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -d "$top/$CGROUP" ] && find "$top/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null
done
"$(dirname "$(readlink -f "$0")")/sampan" network-clear
exit 0
