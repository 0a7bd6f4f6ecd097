#!/bin/sh
# Modes and owners of all below /etc/etcd, where the links in "$@" lead, and the files that hold a private key.
find /etc/etcd ! -type l -exec stat -c '%a|%U|%F|%n' {} +
for link in "$@"; do
  [ ! -L "$link" ] || echo "link|$link|$(readlink "$link")"
done
grep -rlsE -e '-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----' /etc/etcd | sed 's/^/secret|/'
true
