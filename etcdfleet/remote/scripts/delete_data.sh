#!/bin/sh
# Deletes all data of members in a data directory, those that were moved aside and those of a restore that was not
# completed included, and then the marker.
: "${data_dir?}" "${aside?}" "${restoring?}" "${marker?}"
set -e
rm -rf "${data_dir:?}/member" "${data_dir:?}/$aside"* "${data_dir:?}/$restoring"*
rmdir "$data_dir" 2>/dev/null || true
# Last: as long as it is there, no start without data is possible.
rm -f "$marker"
sync
