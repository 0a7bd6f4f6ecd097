#!/bin/sh
# Synced writes to the file system of $data_dir, or of the nearest folder that exists: $writes of them, for no longer
# than $seconds. dd of coreutils and of busybox both say "…, 0.000123 s" or "…, 0.000123 seconds".
: "${data_dir?}" "${seconds?}" "${writes?}" "${bytes?}"
folder=$data_dir
while [ ! -d "$folder" ]; do
  folder=${folder%/*}
  [ -n "$folder" ] || folder=/
done
file=$(mktemp "$folder/.etcdfleet-sync.XXXXXX") || exit 1
trap 'rm -f "$file"' EXIT
# The clock is read by the shell itself: on a slow host each further program would cost as much as the write.
read -r up _ </proc/uptime
end=$((${up%.*} + seconds))
n=0
while [ $n -lt "$writes" ] && [ "${up%.*}" -lt $end ]; do
  dd if=/dev/zero of="$file" bs="$bytes" count=1 conv=notrunc,fsync 2>&1
  n=$((n + 1))
  read -r up _ </proc/uptime
done
