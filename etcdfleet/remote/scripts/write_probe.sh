#!/bin/sh
# Writes $key through one member, reads it through the others in "$@" (MEMBER URL, for each), deletes it, and looks for
# it again. Prints a line STEP|MEMBER|EXIT CODE|OUTPUT for each. The key hangs on a lease, so that it ends with a killed
# run. Functions: own, an etcdctl at the member that writes; at URL, one at that endpoint.
: "${key?}" "${token?}" "${ttl?}"
# What etcdctl logs beside its answer, since 3.5: JSON, a line each.
said() { printf '%s\n' "$1" | sed '/^{"level":/d'; }
# report STEP MEMBER EXIT-CODE OUTPUT
report() { printf '%s|%s|%s|%s\n' "$1" "$2" "$3" "$(printf '%s' "$4" | tail -c 400 | tr '\n|' '  ')"; }
# step NAME WORDS...: sets $out and $rc.
step() {
  name=$1
  shift
  out=$(own "$@" 2>&1)
  rc=$?
  out=$(said "$out")
  report "$name" "" $rc "$out"
}
# all_get STEP MEMBER URL...: side by side.
all_get() {
  name=$1
  shift
  while [ $# -gt 0 ]; do
    member=$1 url=$2
    (
      value=$(at "$url" get "$key" --print-value-only 2>&1)
      report "$name" "$member" $? "$(said "$value")"
    ) &
    shift 2
  done
  wait
}
step lease lease grant "$ttl"
lease=$(printf '%s' "$out" | sed -n 's/^lease \([0-9a-f]*\) granted.*/\1/p')
[ $rc = 0 ] && [ -n "$lease" ] || exit 0
step put put --lease="$lease" "$key" "$token"
all_get read "$@"
step del del "$key"
all_get gone "$@"
step revoke lease revoke "$lease"
