#!/bin/sh
# Shows a certificate to the client port with etcdctl, then the client's own. Functions: attempt, which must `exec` what
# it runs, so that this is what is ended here; proper.
# Refused, etcdctl tries again until its time is over. With its client's log on, versions before 3.6 say why at once,
# which matches the pattern $enough and ends the attempt. The last line says how the proper certificate fared: exit code
# and whole seconds.
: "${enough?}" "${proper_says?}"
fifo=$(mktemp -u /run/etcdfleet.XXXXXX) && mkfifo -m 600 "$fifo" || exit 98
trap 'rm -f "$fifo"' EXIT
attempt >"$fifo" 2>&1 &
pid=$!
sed -E -e "/$enough/q" <"$fifo"
kill $pid 2>/dev/null
wait $pid
rc=$?
began=$(date +%s)
proper >/dev/null 2>&1
echo "$proper_says$? $(($(date +%s) - began))"
exit $rc
