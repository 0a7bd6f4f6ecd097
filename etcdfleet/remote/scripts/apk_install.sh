#!/bin/sh
# Installs etcd (or, with $simulated, says what would be). Functions: before, what is run first; add, which is apk add
# with its options.
: "${etcd?}" "${simulated?}"
before
add "$etcd" etcd-openrc etcd-ctl && exit 0
# Before etcd-ctl was split off, the package etcd held etcdctl.
add "$etcd" etcd-openrc && { [ -n "$simulated" ] || [ -x /usr/bin/etcdctl ]; }
