#!/bin/sh
# Deletes all data of members in a data directory, those that were moved aside included, and then the marker.
: "${data_dir?}" "${aside?}" "${marker?}"
set -e
rm -rf "${data_dir:?}/member" "${data_dir:?}/$aside"*
rmdir "$data_dir" 2>/dev/null || true
# Last: as long as it is there, no start without data is possible.
rm -f "$marker"
sync
