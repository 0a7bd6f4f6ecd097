#!/bin/sh
# The addresses of each name in "$@", a line "NAME ADDRESS…" for each; $unanswered where no DNS server has answered in
# time. Where none answers, glibc tries for 10 s and more: side by side, and for no longer than that helps.
: "${seconds?}" "${unanswered?}"
# glibc and musl both have `ahosts`, which asks what a program asks; `hosts` alone may answer by another family.
ask() {
  found=$(timeout "$seconds" getent ahosts "$1" 2>/dev/null)
  case $? in
    0) ;;
    124 | 143) found=$unanswered ;;
    *) found=$(timeout "$seconds" getent hosts "$1" 2>/dev/null) ;;
  esac
  # All of it in one line, which is one write: with musl a second line is another, and may come after that of a neighbour.
  printf '%s %s\n' "$1" "$(printf '%s\n' "$found" | while read -r address _; do printf '%s ' "$address"; done)"
}
for name in "$@"; do ask "$name" & done
wait
