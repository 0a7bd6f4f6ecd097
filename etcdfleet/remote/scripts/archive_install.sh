#!/bin/sh
# Lets the links to the programs in "$@" lead to $folder, and notes what is installed. Function: before, what is run first.
: "${folder?}" "${links?}" "${note?}" "${note_file?}"
set -e
umask 022
before
mkdir -p "$links"
for name in "$@"; do
  rm -f "$links/.$name.new"
  ln -s "$folder/$name" "$links/.$name.new"
  mv -f "$links/.$name.new" "$links/$name"
  set -- "$@" "$links/$name"
  shift
done
# With the size and the time of each program, which tell whether it is still the one that was placed.
files=$(stat -L -c '"%n %s %Y"' "$@" | tr "\n" "," | sed "s/,$//")
printf '%s, "files": [%s]}' "$note" "$files" | cat >"$note_file.new"
sync "$note_file.new"
mv -f "$note_file.new" "$note_file"
