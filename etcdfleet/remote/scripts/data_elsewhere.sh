#!/bin/sh
# The data directory that the configuration on the host has, if it is another one than $data_dir and a member's log is
# in it. Read by the shell itself: one more process costs a small host more than all of this.
: "${data_dir?}" "${config?}"
[ -r "$config" ] || exit 0
configured=
while IFS= read -r line; do
  case $line in data-dir:*) configured=${line#data-dir:} ;; esac
done <"$config"
configured=${configured# }
configured=${configured#\"}
configured=${configured%\"}
[ -n "$configured" ] && [ "$configured" != "$data_dir" ] || exit 0
set -- "$configured"/member/wal/*.wal
[ ! -e "$1" ] || printf '%s\n' "$configured"
