#!/bin/sh
# Makes what was restored in $work the data of the member: only a name changes. Data that are there are not touched.
: "${work?}" "${data_dir?}"
set -e
set -- "$data_dir"/member/wal/*.wal
if [ -e "$1" ]; then
  echo "there are data of a member in $data_dir, which were not there before" >&2
  exit 1
fi
# A start that was cut off before its first log leaves a folder without data.
[ ! -e "$data_dir/member" ] || mv "$data_dir/member" "$work/empty"
mv "$work/data/member" "$data_dir/member"
sync
rm -rf "$work"
