#!/bin/sh
# Moves what is left of a member into a folder of its own beside, on the same disk: only names change, no byte is copied.
# With $keep_marker the marker stays, too.
: "${data_dir?}" "${aside?}" "${marker?}" "${keep_marker?}"
set -e
forget() { [ -n "$keep_marker" ] || rm -f "$marker"; }
[ -d "$data_dir" ] || { forget; exit; }
umask 077
mkdir "$aside"
[ ! -e "$marker" ] || cat "$marker" > "$aside/cluster.json"
[ ! -e "$data_dir/member" ] || mv "$data_dir/member" "$aside/"
# Last: as long as it is there, no start without data is possible.
forget
sync
