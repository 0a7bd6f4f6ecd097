#!/bin/sh
# The free space for each path in "$@", which come first, in a line: df of the nearest folder that exists, since the data
# directory itself may still have to be made.
echo "$*"
for path in "$@"; do
  shift
  while [ ! -d "$path" ]; do
    path=${path%/*}
    [ -n "$path" ] || path=/
  done
  set -- "$@" "$path"
done
df -Pk "$@"
