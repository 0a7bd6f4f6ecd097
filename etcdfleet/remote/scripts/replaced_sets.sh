#!/bin/sh
# The certificates of sets that are neither in use nor marked as revoked, each after a line "= SET". "$@": the folders of
# the roles, which are links to the sets in use.
: "${certificates?}" "${sets?}" "${fqdn?}" "${revoked?}"
cd "$sets" 2>/dev/null || exit 0
used=" "
for folder in "$@"; do used="$used$(readlink "$certificates/$folder") "; done
for set in *; do
  [ -f "$set/$fqdn.pem" ] && [ ! -e "$set/$revoked" ] || continue
  case $used in *" sets/$set "*) continue ;; esac
  echo "= $set"
  cat "$set/$fqdn.pem"
done
