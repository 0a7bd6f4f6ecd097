#!/bin/sh
# Moves what is left of a member into a folder of its own beside, on the same disk: only names change, no byte is copied.
: "${data_dir?}" "${aside?}" "${marker?}"
set -e
[ -d "$data_dir" ] || { rm -f "$marker"; exit; }
umask 077
mkdir "$aside"
[ ! -e "$marker" ] || cat "$marker" > "$aside/cluster.json"
[ ! -e "$data_dir/member" ] || mv "$data_dir/member" "$aside/"
# Last: as long as it is there, no start without data is possible.
rm -f "$marker"
sync
