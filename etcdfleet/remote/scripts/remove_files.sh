#!/bin/sh
# Removes the files and folders in "$@", and the programs. What is not ours stays, and so does the folder that it is in.
# Functions: retire, which removes programs; reload, which tells the init system.
: "${configuration?}"
set -e
retire >&2
rm -rf "$@"
rmdir "$configuration" 2>/dev/null || true
reload
