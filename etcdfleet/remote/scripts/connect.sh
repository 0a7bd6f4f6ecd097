#!/bin/sh
# Connects to each ADDRESS,PORT in "$@", all side by side; a line "ADDRESS,PORT RESULT" for each. Nothing on a host with
# neither perl nor nc.
: "${program?}" "${limit?}"
if command -v perl >/dev/null; then
  perl -MSocket=:all -MFcntl -MErrno -e "$program" "$limit" "$@"
elif command -v nc >/dev/null; then
  try() {
    said=$(timeout "$limit" nc -n -vv -z "${1%,*}" "${1##*,}" </dev/null 2>&1)
    case $? in 0) said=open ;; 124 | 143) said=time-out ;; esac
    # In one line, which is one write, so that nothing of a neighbour comes between.
    printf '%s %s\n' "$1" "$(printf '%s' "$said" | tr '\n' ' ')"
  }
  for target in "$@"; do try "$target" & done
  wait
fi
