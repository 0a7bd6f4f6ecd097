#!/bin/sh
# Restores the snapshot that comes on standard input, starts it as a member of its own that only $user and root reach,
# prints what that says, and removes all of it. Arguments: folders to choose from; not one in memory.
# Printed: "count", "status" and "hashes", each followed by the JSON of etcdctl.
: "${needed_kib?}" "${memory_kib?}" "${no_room?}" "${user?}" "${size?}" "${seconds?}" "${etcd?}" "${restorer?}"
: "${architecture?}" "${certificate?}" "${key?}" "${token?}" "${revision?}"
umask 077
chosen=
for folder in "$@"; do
  [ -d "$folder" ] || continue
  for left in "$folder"/etcdfleet-drill.*; do
    # Of a run whose host lost its power; one whose process lives is at work.
    pid=${left##*/etcdfleet-drill.} && pid=${pid%%.*}
    [ -d "/proc/$pid" ] || rm -rf "$left"
  done
  # shellcheck disable=SC2046  # device and free blocks, two words
  set -- $(df -Pk "$folder" | awk 'NR == 2 { print $1, $4 }')
  if [ "$1" != tmpfs ] && [ "${2:-0}" -ge "$needed_kib" ]; then
    chosen=$folder
    break
  fi
  echo "$folder ($1) has room for ${2:-0} KiB, and $needed_kib KiB are needed" >&2
done
[ -n "$chosen" ] || exit "$no_room"
free=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
if [ "${free:-0}" -lt "$memory_kib" ]; then
  echo "${free:-0} KiB of memory are free, and $memory_kib KiB are needed" >&2
  exit "$no_room"
fi
work=$(mktemp -d "$chosen/etcdfleet-drill.$$.XXXXXX") || exit
server=
clean() {
  # The process that $server waits for has noted its own number.
  [ ! -s "$work/pid" ] || kill "$(cat "$work/pid")" 2>/dev/null
  [ -z "$server" ] || wait "$server" 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM PIPE
cd "$work" || exit
cat >snapshot.db || exit
got=$(wc -c <snapshot.db)
if [ "$((got))" != "$size" ]; then
  echo "$((got)) bytes of the snapshot came, and not $size" >&2
  exit 1
fi
printf '%s\n' "$certificate" >certificate.pem
printf '%s\n' "$key" >key.pem
: >log
# As this user with no more than it needs in the environment: etcd reads its settings from there, too.
as_user() {
  set -- env -i PATH="$PATH" ETCD_UNSUPPORTED_ARCH="$architecture" "$@"
  if [ "$(id -un)" = "$user" ]; then
    "$@"
  else
    # shellcheck disable=SC2016  # for that shell
    su -s /bin/sh -c 'exec "$@"' -- "$user" sh "$@"
  fi
}
[ "$(id -un)" = "$user" ] || chown -R "$user" "$work" || exit
# A program that this user cannot run says nothing about the snapshot. It is run, since a wrapper may be executable, and
# what it leads to, or its interpreter, out of this user's reach.
for command in "$restorer version" "$etcd --version" "etcdctl version"; do
  program=${command% *}
  said=$(as_user "$program" "${command##* }" 2>&1 </dev/null) || {
    echo "user $user cannot run $program: $(printf '%s\n' "$said" | tail -n 1)" >&2
    exit 1
  }
done
peer=unix://localhost:2
client=unixs://localhost:1
as_user "$restorer" snapshot restore snapshot.db --data-dir=data --name=drill --initial-cluster="drill=$peer" \
  --initial-advertise-peer-urls="$peer" --initial-cluster-token="$token" >>log 2>&1 </dev/null || {
  echo "$restorer could not restore it: $(tail -n 3 log)" >&2
  exit 1
}
# shellcheck disable=SC2016  # for that shell
as_user sh -c 'echo $$ >pid; exec nice -n 19 timeout "$@"' sh "$seconds" "$etcd" --name=drill --data-dir=data \
  --initial-cluster="drill=$peer" --initial-advertise-peer-urls="$peer" --listen-peer-urls="$peer" \
  --listen-client-urls="$client" --advertise-client-urls="$client" --client-cert-auth \
  --cert-file=certificate.pem --key-file=key.pem --trusted-ca-file=certificate.pem >>log 2>&1 </dev/null &
server=$!
ask() {
  as_user etcdctl --endpoints="$client" --cacert=certificate.pem --cert=certificate.pem --key=key.pem \
    --dial-timeout=3s --command-timeout=30s -w json "$@" </dev/null
}
until ask get '' --from-key --keys-only --limit=1 >count 2>>log; do
  if ! kill -0 "$server" 2>/dev/null; then
    echo "etcd did not stay up: $(tail -n 5 log)" >&2
    exit 1
  fi
  sleep 0.5 2>/dev/null || sleep 1
done
printf 'count %s\n' "$(cat count)"
printf 'status %s\n' "$(ask endpoint status 2>>log)"
printf 'hashes %s\n' "$(ask endpoint hashkv --rev="$revision" 2>>log)"
