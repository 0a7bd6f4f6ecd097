#!/bin/sh
# Starts etcd on a copy of a stopped member's data (in $source), alone, on the loop-back, for a moment; prints a snapshot
# of it, and leaves nothing of that. So all that is in the member's log is in the snapshot. The data are only read.
# "$@": etcd with its options, but for the data directory. Functions: serves (a request commits), save (to the file $1).
: "${data_dir?}" "${source?}" "${work?}" "${in_use?}" "${user?}" "${seconds?}" "${no_room?}" "${architecture?}"
umask 077
finish() {
  pid=$(cat "$work/pid" 2>/dev/null)
  # Of a run that was ended here, too; the number may be another's by now.
  if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$work/data"; then
    kill "$1" "$pid" 2>/dev/null
  fi
  [ -z "$started" ] || kill "$started" 2>/dev/null
  wait
  rm -rf "$work"
}
started=
finish -9
# etcd holds this lock as long as it uses a database.
if command -v flock >/dev/null && [ -e "$source/member/snap/db" ] && ! flock -n "$source/member/snap/db" true; then
  echo "an etcd uses the data in $source" >&2
  exit "$in_use"
fi
size=$(du -sk "$source/member/" | cut -f 1)
free=$(df -Pk "$data_dir" | awk 'NR == 2 { print $4 }')
if [ "${free:-0}" -lt $((2 * size + 163840)) ]; then
  echo "$data_dir has room for ${free:-0} KiB, and $((2 * size + 163840)) are needed for a copy of its data" >&2
  exit "$no_room"
fi
trap 'finish -9' EXIT
trap 'exit 1' HUP INT TERM PIPE
mkdir -p "$work/data/member" && cp -a "$source/member/." "$work/data/member/" && chown -R "$user" "$work" || exit
# Whatever becomes of this shell, it ends by itself.
# shellcheck disable=SC2016  # for that shell
set -- timeout $((seconds * 2)) sh -c 'echo $$ >"$0/pid" && exec "$@"' "$work" \
  env "ETCD_UNSUPPORTED_ARCH=$architecture" "$@" --data-dir="$work/data"
if [ "$(id -un)" = "$user" ]; then
  "$@" >"$work/log" 2>&1 </dev/null &
else
  # shellcheck disable=SC2016
  su -s /bin/sh -c 'exec "$@"' -- "$user" sh "$@" >"$work/log" 2>&1 </dev/null &
fi
started=$!
end=$(($(cut -d . -f 1 /proc/uptime) + seconds))
until serves >/dev/null 2>&1; do
  if ! kill -0 $started 2>/dev/null || [ "$(cut -d . -f 1 /proc/uptime)" -ge $end ]; then
    tail -n 3 "$work/log" >&2
    echo "etcd does not come up on a copy of the data" >&2
    exit 1
  fi
  sleep 0.5 2>/dev/null || sleep 1
done
save "$work/snapshot.db" >&2 && cat "$work/snapshot.db"
