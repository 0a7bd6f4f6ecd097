#!/bin/sh
# Takes the lock of a cluster on its host, and keeps it until the input ends or falls silent.
# Says in its first line: $said_held and the previous count; $said_taken and the note of its holder; $said_works, a
# process that an earlier run has left at work, its program and that run's note; or $said_missing.
# With $break_lock all of these are ended first.
: "${folder?}" "${file?}" "${note?}" "${count?}" "${working?}" "${at_work?}" "${info?}" "${break_lock?}"
: "${patience?}" "${silence?}" "${beat?}" "${said_held?}" "${said_taken?}" "${said_works?}" "${said_missing?}"
command -v flock >/dev/null || { echo "$said_missing"; exit 0; }
# Nobody but root may open these files, and so keep runs away.
umask 077
mkdir -p -m 0755 "$folder"
: >>"$working"
left=
# Commands have $working open as long as they work. One that is no shell says more about what that is.
find_left() {
  left=
  for open in /proc/[0-9]*/fd/"$at_work"; do
    # shellcheck disable=SC3013  # dash and busybox have it, and POSIX since 2024
    [ "$open" -ef "$working" ] || continue
    process=${open#/proc/} process=${process%%/*}
    program=$(tr -d '[:space:]' </proc/"$process"/comm 2>/dev/null)
    [ -n "$program" ] || continue
    case $left in '' | *' sh') left="$process $program" ;; esac
    [ -z "$break_lock" ] || kill -9 "$process" 2>/dev/null
  done
  [ -n "$left" ]
}
pause() { sleep 0.1 2>/dev/null || sleep 1; }
who() { base64 <"$note" 2>/dev/null | tr -d '\n'; }
# The file's descriptor is for this shell alone: a child that outlives it must not keep the lock.
exec 9>>"$file"
if [ -n "$break_lock" ] && [ -s "$note.pid" ] && ! flock -n 9; then
  kill -9 "$(cat "$note.pid")" 2>/dev/null
  n=0
  while ! flock -n 9 && [ $n -lt 50 ]; do
    n=$((n + 1))
    pause
  done
fi
if ! flock -n 9; then
  echo "$said_taken $(who)"
  exit 0
fi
n=$(cat "$count" 2>/dev/null || echo 0)
# The note of a run is there when it was broken, or its commands outlived it: what was read of the host in its time is
# not relied on.
[ ! -e "$note" ] || n=$((n + 1))
until=$(($(date +%s) + patience))
while find_left; do
  if [ "$(date +%s)" -ge "$until" ]; then
    echo "$said_works $left $(who)"
    exit 0
  fi
  pause
done
echo "$info" | base64 -d >"$note"
echo $$ >"$note.pid"
echo $((n + 1)) >"$count"
echo "$said_held $n"
# A function is read to its end before it runs: a shell that reads its script in small pieces, as busybox's does on
# Alpine, would leave the rest of it to dd.
keep() {
  while [ "$(timeout "$silence" dd bs=1 count=1 2>/dev/null 9>&-)" = "$beat" ]; do :; done
  break_lock=
  find_left || rm -f "$note" "$note.pid"
  echo $((n + 2)) >"$count"
  exit 0
}
keep
