#!/bin/sh
# Takes the lock of a cluster on its host, and keeps it until the input ends or falls silent.
# Says in its first line: $said_held and the previous count; or $said_taken and the note of its holder; or
# $said_missing. With $break_lock its holder is ended first.
: "${folder?}" "${file?}" "${note?}" "${count?}" "${info?}" "${break_lock?}"
: "${silence?}" "${beat?}" "${said_held?}" "${said_taken?}" "${said_missing?}"
command -v flock >/dev/null || { echo "$said_missing"; exit 0; }
mkdir -p -m 0755 "$folder"
# The file's descriptor is for this shell alone: a child that outlives it must not keep the lock.
exec 9>>"$file"
if [ -n "$break_lock" ] && [ -s "$note.pid" ] && ! flock -n 9; then
  kill -9 "$(cat "$note.pid")" 2>/dev/null
  n=0
  while ! flock -n 9 && [ $n -lt 50 ]; do
    n=$((n + 1))
    sleep 0.1 2>/dev/null || sleep 1
  done
  echo $(($(cat "$count") + 1)) >"$count"
fi
if ! flock -n 9; then
  echo "$said_taken $(base64 <"$note" 2>/dev/null | tr -d '\n')"
  exit 0
fi
echo "$info" | base64 -d >"$note"
echo $$ >"$note.pid"
n=$(cat "$count" 2>/dev/null || echo 0)
echo $((n + 1)) >"$count"
echo "$said_held $n"
# A function is read to its end before it runs: a shell that reads its script in small pieces, as busybox's does on
# Alpine, would leave the rest of it to dd.
keep() {
  while [ "$(timeout "$silence" dd bs=1 count=1 2>/dev/null 9>&-)" = "$beat" ]; do :; done
  rm -f "$note" "$note.pid"
  echo $((n + 2)) >"$count"
  exit 0
}
keep
