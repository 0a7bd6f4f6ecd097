#!/bin/sh
# Processes named etcd, and data directories, on a host on which this project has no member yet: at once nothing where
# it has one. Read by etcdfleet/host/others.py.
: "${data_dir?}" "${package_dir?}" "${established?}" "${config?}"
[ ! -e "$established" ] || exit 0
dirs=$package_dir
for file in /etc/default/etcd /etc/conf.d/etcd; do
  [ ! -r $file ] || dir=$(sed -n 's/^[a-z ]*ETCD_DATA_DIR=//p' $file | tr -d "\"'" | tail -n 1)
  dirs="$dirs $dir"
  dir=
done
if [ ! -e "$config" ]; then
  for process in /proc/[0-9]*; do
    { read -r name <"$process/comm"; } 2>/dev/null && [ "$name" = etcd ] || continue
    # While OpenRC is asked for the service, what it runs has the name of the service.
    case "$(readlink "$process/exe")" in */openrc-run) continue ;; esac
    # A process that ends meanwhile, or that nobody has waited for, has no environment to be read.
    dir=$({ tr '\0' '\n' <"$process/environ"; } 2>/dev/null | sed -n 's/^ETCD_DATA_DIR=//p')
    [ -n "$dir" ] || dir=$({ tr '\0' '\n' <"$process/cmdline"; } 2>/dev/null |
      sed -n '/^--*data-dir$/{n;p;}; s/^--*data-dir=//p' | tail -n 1)
    # Whatever etcdctl is there: 3.3 and older speaks the old API unless it is told.
    keys=$(ETCDCTL_API=3 timeout 3 etcdctl --endpoints=http://127.0.0.1:2379 get '' --prefix --keys-only --limit=1 \
      -w fields 2>/dev/null | sed -n 's/^"Count" : //p')
    echo "process ${process#/proc/} $(sed -n 's|^.*/\([^/]*\.service\)$|\1|p' "$process/cgroup" | head -n 1)|$dir|$keys"
    dirs="$dirs $dir"
  done
fi
for dir in $dirs; do
  [ "$dir" != "$data_dir" ] && [ -d "$dir/member/wal" ] || continue
  echo "data $(stat -c '%s %Y' "$dir/member/snap/db" 2>/dev/null || echo 0 0) $dir"
done
