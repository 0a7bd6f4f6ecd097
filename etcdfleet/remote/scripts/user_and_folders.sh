#!/bin/sh
# The user etcd, the data directory, and the folders of the configuration.
: "${data_dir?}" "${certificates?}" "${sets?}"
set -e
# addgroup and adduser of busybox, groupadd and useradd of shadow are told apart by what is there.
getent group etcd >/dev/null 2>&1 || grep -q '^etcd:' /etc/group || {
  if command -v groupadd >/dev/null; then groupadd --system etcd; else addgroup -S etcd; fi
}
id -u etcd >/dev/null 2>&1 || {
  if command -v useradd >/dev/null; then
    useradd --system --gid etcd --home-dir /var/lib/etcd --no-create-home --shell /usr/sbin/nologin etcd
  else
    adduser -S -D -H -h /var/lib/etcd -s /sbin/nologin -G etcd -g etcd etcd
  fi
}
# Whatever umask the login has: user etcd must be able to pass the folders that are made on the way.
umask 022
mkdir -p "$data_dir"
chown etcd:etcd "$data_dir"
chmod 0700 "$data_dir"
mkdir -p -m 0755 /etc/etcd "$certificates" "$sets" /etc/profile.d
