#!/bin/sh
# Prints what the host has for the member's database in $data_dir: "memory KIB", "free KIB" on its disk, and for each copy of a defragmentation
# "copying BYTES" where an etcd has it open, "left BYTES FILE" where none has.
: "${data_dir?}"
awk '/^MemTotal:/ { print "memory", $2 }' /proc/meminfo
snap=$(cd -P "$data_dir/member/snap" 2>/dev/null && pwd -P) || exit 0
df -Pk "$snap" | awk 'NR == 2 { print "free", $4 }'
set --
for copy in "$snap"/db.tmp.*; do
  [ -f "$copy" ] && set -- "$@" "$copy"
done
[ $# -gt 0 ] || exit 0
open=" "
for process in /proc/[0-9]*; do
  name=
  { read -r name <"$process/comm"; } 2>/dev/null
  [ "$name" = etcd ] || continue
  # By number: an etcd with mounts of its own may see the file under another path.
  open="$open$(stat -L -c %d:%i "$process"/fd/* 2>/dev/null | tr '\n' ' ')"
done
for copy in "$@"; do
  size=$(stat -c %s "$copy" 2>/dev/null) && id=$(stat -c %d:%i "$copy" 2>/dev/null) || continue
  case $open in
    *" $id "*) echo "copying $size" ;;
    *) echo "left $size $copy" ;;
  esac
done
