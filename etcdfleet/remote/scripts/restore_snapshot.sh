#!/bin/sh
# Makes a data directory out of a snapshot, as a user: it is whole under its name, or not there. "$@": the words for
# `$program snapshot restore`. The user must be able to read $snapshot and to write beside $into, which must be named
# after the restore that it comes from: one that is there already is that of an earlier, complete run.
: "${program?}" "${snapshot?}" "${into?}" "${user?}"
umask 077
[ ! -d "$into" ] || exit 0
# Of a run that was ended here. One whose program still works on its part cannot complete it any more.
rm -rf "$into".part-*
part=$into.part-$$
set -- "$program" snapshot restore "$snapshot" --data-dir="$part" "$@"
if [ "$(id -un)" = "$user" ]; then
  "$@" </dev/null
else
  # What a start as another user could not read is the usual end of a restore by root.
  # shellcheck disable=SC2016  # for that shell
  su -s /bin/sh -c 'exec "$@"' -- "$user" sh "$@" </dev/null
fi
code=$?
if [ $code = 0 ] && [ -s "$part/member/snap/db" ]; then
  sync
  mv "$part" "$into" && sync
  exit
fi
rm -rf "$part"
[ $code != 0 ] || echo "$program ended without an error, and there is no database in $part" >&2
[ $code != 0 ] || code=1
exit "$code"
