#!/bin/sh
# Where a data directory lies: links, mounts, the folders on the way. Read by etcdfleet/host/storage.py.
# Read by the shell itself, and only the lines that matter: a host with containers has hundreds of mounts.
: "${data_dir?}"
real=$(readlink -f "$data_dir")
[ -n "$real" ] || real=$data_dir
printf 'path %s\n' "$real"
if [ -e "$data_dir" ]; then
  [ -d "$data_dir" ] || printf 'file %s\n' "$data_dir"
elif [ -L "$data_dir" ]; then
  printf 'dangling %s\n' "$(readlink "$data_dir")"
fi
while read -r _ _ _ _ at options rest; do
  case $real/ in "${at%/}"/*) echo "mount $at $options ${rest#*- }" ;; esac
done </proc/self/mountinfo
[ ! -r /etc/fstab ] || while read -r device at _ || [ -n "$device" ]; do
  case $device in '' | '#'*) continue ;; esac
  case $real/ in "${at%/}"/*) echo "fstab $at" ;; esac
done </etc/fstab
set --
for path in "$real" "$data_dir"; do
  while
    path=${path%/*}
    [ -n "$path" ]
  do set -- "$@" "$path"; done
done
[ $# = 0 ] || stat -L -c 'folder %a %U %G %n' "$@" 2>/dev/null
read -r line </proc/cmdline
case " $line " in *' overlayroot=tmpfs'* | *' boot=overlay '*) echo memory ;; esac
true
