#!/bin/sh
# What is in a data directory, and the beginning of its write-ahead log. Read by etcdfleet/host/facts.py.
: "${data_dir?}" "${not_there?}" "${established?}" "${ids_bytes?}" "${head_bytes?}"
[ -d "$data_dir" ] || exit "$not_there"
stat -L -c '%a %U' "$data_dir"
# shellcheck disable=SC2046,SC2005  # all names in one line
echo $(ls -A "$data_dir")
[ -d "$data_dir/member" ] || exit 0
set -- "$data_dir"/member/snap/*.snap
[ -e "$1" ] && echo $# || echo 0
set -- "$data_dir"/member/wal/*.wal
[ -e "$1" ] || { echo none; stat -c %s "$data_dir/member/snap/db" 2>/dev/null; exit 0; }
echo "${1##*/}"
# On a member that was established, ids and birth are enough; else it matters how far the log of its first start came.
if [ -e "$established" ]; then
  head -c "$ids_bytes" "$1" | base64
  exit
fi
head -c "$head_bytes" "$1" | gzip -c | base64
