#!/bin/sh
# Keeps what comes on standard input as $work/snapshot.db, for $user alone: it is complete under that name, or not there.
# One that is there already is of an earlier run, and stays. Folders of restores that were given up for this one, all of
# $all that are not $work, go.
: "${work?}" "${all?}" "${user?}" "${size?}"
umask 077
for other in "$all"*; do
  [ "$other" = "$work" ] || rm -rf "$other"
done
mkdir -p "$work" && chown "$user" "$work" || exit
file=$work/snapshot.db
if [ -s "$file" ]; then
  cat >/dev/null
  exit 0
fi
cat >"$file.part" || exit
got=$(wc -c <"$file.part")
if [ "$((got))" != "$size" ]; then
  echo "$((got)) bytes came, and not $size" >&2
  rm -f "$file.part"
  exit 1
fi
chown "$user" "$file.part" && sync && mv "$file.part" "$file"
