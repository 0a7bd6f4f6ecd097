#!/bin/sh
# Saves a snapshot of the member on this host and prints it; nothing of it stays here. Arguments: folders to choose from.
# Function: save (to the file $1).
: "${needed_kib?}" "${no_room?}"
umask 077
chosen=
for folder in "$@"; do
  [ -d "$folder" ] || continue
  for left in "$folder"/etcdfleet-snapshot.*; do
    # Of a run whose host lost its power; one whose process lives is at work.
    pid=${left##*/etcdfleet-snapshot.} && pid=${pid%%.*}
    [ -d "/proc/$pid" ] || rm -rf "$left"
  done
  # shellcheck disable=SC2046  # device and free blocks, two words
  set -- $(df -Pk "$folder" | awk 'NR == 2 { print $1, $4 }') "$folder"
  free=${2:-0}
  if [ "$1" = tmpfs ]; then
    # What lies there takes the memory that etcd needs.
    free=$(awk '/^MemAvailable:/ { print int($2 / 2) }' /proc/meminfo)
    [ "${free:-0}" -lt "${2:-0}" ] || free=$2
  fi
  if [ "${free:-0}" -ge "$needed_kib" ]; then
    chosen=$folder
    break
  fi
  echo "$folder has room for ${free:-0} KiB" >&2
done
[ -n "$chosen" ] || exit "$no_room"
work=$(mktemp -d "$chosen/etcdfleet-snapshot.$$.XXXXXX") || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM PIPE
save "$work/snapshot.db" >&2 && cat "$work/snapshot.db"
