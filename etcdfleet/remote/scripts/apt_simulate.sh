#!/bin/sh
# What apt would install for the packages in "$@". Lists that are missing or too old are fetched into a folder of their
# own. Function: get, which is apt-get with the usual options.
lists=
simulate() {
  # shellcheck disable=SC2086  # options, a word each
  get $lists -s -o Debug::NoLocking=1 --no-install-recommends --allow-downgrades --allow-change-held-packages \
    install "$@"
}
said=$(simulate "$@" 2>&1) && {
  echo "$said"
  exit 0
}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir -p "$folder/lists/partial"
lists="-o Dir::State::lists=$folder/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
# shellcheck disable=SC2086  # options, a word each
get $lists update >/dev/null 2>&1
simulate "$@"
