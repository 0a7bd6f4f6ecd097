#!/bin/sh
# Asks the client port for a path by HTTP, and prints what came; exit code 0 only if it was an answer by HTTP.
# Function: connect, which sends its input by TLS.
: "${path?}" "${fqdn?}"
said=$(printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$fqdn" | connect 2>&1)
rc=$?
printf '%s\n' "$said"
case "$said" in *HTTP/1.*) exit 0 ;; esac
[ $rc != 0 ] || rc=1
exit $rc
