#!/bin/sh
# The supervisor's supervisor where no init system is: sampan-run.sh start | stop | status. Starts `sampan $SAMPAN_EXEC` again when it ends badly.
pidfile=/run/sampan-run.pid
log=/var/log/sampan.log
bin=$(dirname "$(readlink -f "$0")")/sampan

alive() { [ -f $pidfile ] && kill -0 "$(cat $pidfile)" 2>/dev/null; }

keep_running() {
  set -a
  [ -f /etc/sampan/sampan.env ] && . /etc/sampan/sampan.env
  set +a
  child=
  trap 'trap - TERM; [ -n "$child" ] && kill "$child" && wait "$child"; rm -f $pidfile; exit 0' TERM
  while :; do
    # shellcheck disable=SC2086
    "$bin" ${SAMPAN_EXEC:-server} &
    child=$!
    wait $child
    code=$?
    [ $code = 2 ] && break # wrong usage: trying again cannot help
    sleep 2
  done
  rm -f $pidfile
}

case ${1:-} in
  start)
    alive && { echo "sampan runs already (pid $(cat $pidfile))"; exit 0; }
    setsid "$0" run </dev/null >>$log 2>&1 &
    for _ in 1 2 3 4 5 6 7 8 9 10; do alive && exit 0; sleep 0.1; done
    echo "sampan did not start; see $log" >&2; exit 1 ;;
  run) echo $$ >$pidfile; keep_running ;;
  stop)
    alive || exit 0
    pid=$(cat $pidfile)
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done ;;
  status) alive && echo "running (pid $(cat $pidfile))" || { echo stopped; exit 3; } ;;
  *) echo "usage: $0 start|stop|status" >&2; exit 2 ;;
esac
