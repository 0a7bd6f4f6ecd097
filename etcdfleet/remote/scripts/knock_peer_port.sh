#!/bin/sh
# Asks the peer port for a path by HTTP, and prints what came; exit code 124 if that took too long.
# Function: connect, which sends its input by TLS. It must `exec` what it runs, so that this is what is ended here.
: "${path?}" "${fqdn?}" "${tenths?}"
file=$(mktemp /run/etcdfleet.XXXXXX) || exit 98
trap 'rm -f "$file"' EXIT
# The port keeps the connection after its answer: the first line of it is enough. No fifo: busybox gives up opening one
# when a child ends meanwhile.
printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$fqdn" | connect >"$file" 2>&1 &
pid=$!
n=0
while [ $n -lt "$tenths" ] && kill -0 $pid 2>/dev/null && ! grep -qE '^HTTP|rror' "$file"; do
  sleep 0.1
  n=$((n + 1))
done
kill $pid 2>/dev/null
cat <"$file"
[ $n -lt "$tenths" ] || exit 124
