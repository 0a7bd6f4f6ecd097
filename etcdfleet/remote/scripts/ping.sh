#!/bin/sh
# What ping measures to each address in "$@", after a line "= ADDRESS". Exit code 1 where there is no ping.
: "${count?}"
command -v ping >/dev/null || exit 1
for address in "$@"; do
  echo "= $address"
  ping -c "$count" -i 0.2 -q -W 1 "$address" 2>/dev/null
done
true
