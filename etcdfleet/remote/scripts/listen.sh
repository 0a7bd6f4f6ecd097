#!/bin/sh
# Listens on the ports in "$@" of $address until its input ends, or for $life seconds. Its first line is "listens", or why
# it cannot. Perl is on every Debian (perl-base is essential there), busybox's nc on every Alpine.
: "${program?}" "${address?}" "${life?}"
if command -v perl >/dev/null; then
  perl -MSocket=:all -e "$program" "$life" "$address" "$@" || echo failed
elif command -v nc >/dev/null; then
  pids=
  for port in "$@"; do
    nc -lk -s "$address" -p "$port" -e true </dev/null >/dev/null 2>&1 &
    pids="$pids $!"
  done
  # busybox's nc says nothing once it listens.
  n=0 open=0
  while [ $n -lt 20 ] && [ $open -lt $# ]; do
    open=0
    for port in "$@"; do netstat -ltn | grep -q ":$port " && open=$((open + 1)); done
    n=$((n + 1))
    [ $open = $# ] || sleep 0.1
  done
  if [ $open = $# ]; then
    echo listens
    timeout "$life" cat >/dev/null
  else
    echo failed
  fi
  # shellcheck disable=SC2086  # a word each
  kill $pids 2>/dev/null
else
  echo neither perl nor nc is there
fi
exit 0
