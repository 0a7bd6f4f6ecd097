#!/bin/sh
# Puts the programs that were uploaded to $staged into $folder of $library, once they have their $sums, run here, and are
# of $version. "$@": the programs. Exit codes: $does_not_run, $other_version.
: "${library?}" "${in_use?}" "${folder?}" "${new?}" "${staged?}" "${sums?}" "${version?}" "${architecture?}"
: "${does_not_run?}" "${other_version?}"
set -e
trap 'rm -f "$staged"-*; rm -rf "$new"' EXIT
umask 022
# What a run left that was killed here; and releases that nothing leads to any more.
mkdir -p "$library"
rm -rf "$library"/.new-*
used=$(readlink "$in_use" || true)
for release in "$library"/etcd-*/; do
  [ "$used" = "${release}etcd" ] || rm -rf "$release"
done
mkdir "$new"
for name in "$@"; do
  cp "$staged-$name" "$new/$name"
  chown root:root "$new/$name"
  chmod 755 "$new/$name"
done
cd "$new"
printf %s "$sums" | sha256sum -c - >/dev/null
said=$(ETCD_UNSUPPORTED_ARCH=$architecture ./etcd --version 2>&1) && ./etcdctl version >/dev/null || {
  echo "$said" >&2
  exit "$does_not_run"
}
printf '%s\n' "$said" | grep -qx "etcd Version: $version" || {
  echo "$said" | head -n 1 >&2
  exit "$other_version"
}
sync "$@"
cd /
rm -rf "$folder"
mv "$new" "$folder"
sync "$library"
