#!/bin/sh
# Makes private keys, and requests for certificates for them, in folders of $staged; each request follows a line
# "= ROLE DIGEST FILE". Function: requests, which calls `request` for each of them.
: "${sets?}" "${staged?}" "${fqdn?}"
# request ROLE CONFIGURATION SUBJECT OPTIONS...: OPTIONS are those of openssl genpkey. With an empty SUBJECT it is the
# configuration's, which cannot ask for no name at all: a section without a name is refused.
request() {
  role=$1 configuration=$2 subject=$3 folder=$staged/$1
  shift 3
  openssl genpkey "$@" -out "$folder/$fqdn.key" 2>"$folder/said" || {
    cat "$folder/said" >&2
    exit 1
  }
  # The shell's own printf does not say that the disk is full, and openssl has not noticed either.
  printf '%s' "$configuration" | cat >"$folder/said"
  echo "= $role $(sha256sum "$folder/$fqdn.key")"
  openssl req -new -sha256 -key "$folder/$fqdn.key" -config "$folder/said" ${subject:+-subj "$subject"}
  rm "$folder/said"
}
set -eu
# etcd's user must get through to the sets: their folder is no secret, what is in it is.
umask 022
mkdir -p "$sets"
umask 077
rm -rf "$sets"/.new-*
mkdir "$staged"
for role in "$@"; do mkdir "$staged/$role"; done
export OPENSSL_CONF=/dev/null
requests
