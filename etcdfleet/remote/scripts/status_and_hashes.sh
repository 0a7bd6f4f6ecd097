#!/bin/sh
# Prints the status of each member that answers, and their hashes at one revision: a line of JSON each.
# Arguments: endpoints, each list of them (with commas) asked by a process of its own.
# Functions: status ENDPOINTS, hashes ENDPOINTS REVISION.
folder=$(mktemp -d /run/etcdfleet.XXXXXX) || exit 98
trap 'rm -rf "$folder"' EXIT
number=10
for endpoints; do
  number=$((number + 1))
  status "$endpoints" >"$folder/status$number" 2>"$folder/error$number" &
done
wait
cat "$folder"/error* >&2
each=$(sed 's/^\[//; s/\]$//' "$folder"/status* | grep '{' | tr '\n' ',')
printf '[%s]\n' "${each%,}"

fields=$(printf '%s' "$each" | tr ',' '\n')
answering=$(printf '%s\n' "$fields" | sed -n 's/.*"Endpoint":"\([^"]*\)".*/\1/p' | tr '\n' ',')
# The lowest revision, which all have: a cluster that is written to differs from one moment to the next.
revision=$(printf '%s\n' "$fields" | sed -n 's/.*"revision":\([0-9]*\).*/\1/p' | sort -n | head -n 1)
[ -n "$answering" ] && [ -n "$revision" ] || exit 1
found=$(hashes "${answering%,}" "$revision")
# An idle cluster is in time compacted up to its very last revision, of which only the present hash can be had.
[ "$found" != "[]" ] || found=$(hashes "${answering%,}" 0)
printf '%s\n' "$found"
