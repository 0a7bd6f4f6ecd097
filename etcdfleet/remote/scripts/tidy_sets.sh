#!/bin/sh
# Removes the sets of a role that are neither in use nor among the newest $kept. "$@": ROLE LINK, for each role.
# With $only_marked, of those only the ones with a file of that name in them.
: "${sets?}" "${kept?}" "${only_marked?}"
while [ $# -gt 0 ]; do
  role=$1
  used=$(readlink "$2")
  used=${used#sets/}
  # shellcheck disable=SC2010  # by age, which only ls tells; their names are ours
  ls -1t "$sets" | grep "^$role-" | sed "1,${kept}d" | while read -r set; do
    [ "$set" = "$used" ] && continue
    [ -z "$only_marked" ] || [ -e "$sets/$set/$only_marked" ] || continue
    rm -rf "${sets:?}/$set"
  done
  shift 2
done
