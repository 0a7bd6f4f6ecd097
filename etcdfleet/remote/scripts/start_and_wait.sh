#!/bin/sh
# Starts or restarts etcd, and waits until a request commits through it. Functions: start, takes_part, respawns, gave_up.
: "${ready_seconds?}" "${crashes_allowed?}" "${restart_pending?}"
: "${too_late?}" "${not_kept_up?}" "${crash_loop?}" "${not_started?}"
# The clock may be set during the wait: that must not end or prolong it.
uptime_seconds() { cut -d . -f 1 /proc/uptime; }

start
code=$?
[ $code = 0 ] || exit "$not_started"
rm -f "$restart_pending"
end=$(($(uptime_seconds) + ready_seconds))
given_up=0 base=$(respawns)
while :; do
  takes_part && exit 0
  ends=$(respawns)
  # A supervisor that was in a crash loop already goes on with its count: earlier ends do not count here.
  [ "${ends:-0}" -ge "${base:-0}" ] || base=$ends
  [ $((${ends:-0} - ${base:-0})) -lt "$crashes_allowed" ] || exit "$crash_loop"
  if gave_up; then given_up=$((given_up + 1)); else given_up=0; fi
  [ $given_up -lt 3 ] || exit "$not_kept_up"
  [ "$(uptime_seconds)" -lt $end ] || exit "$too_late"
  sleep 0.5 2>/dev/null || sleep 1
done
