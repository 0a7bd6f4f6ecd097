#!/bin/sh
# Installs the packages in "$@"; no service is started or restarted. Functions: before, what is run first; get, which is
# apt-get with the usual options.
: "${policy?}" "${lock_tries?}"
set -e
export DEBIAN_FRONTEND=noninteractive
before
# Another apt, perhaps that of a killed run, is waited for first: dpkg itself does not wait for a lock.
get check >/dev/null 2>&1 || true
# Maintainer scripts ask policy-rc.d before they start or restart a service. On a live member the restart is ours to
# time; a foreign policy is kept aside and put back. The file names its maker's process: what a killed run left is taken
# away, and a run that ends does not take away another's.
mine="# etcdfleet $$"
undo() {
  if grep -qx "$mine" "$policy" 2>/dev/null; then rm -f "$policy"; fi
  if [ -e "$policy.etcdfleet-saved" ] && [ ! -e "$policy" ]; then mv -f "$policy.etcdfleet-saved" "$policy"; fi
}
old=$(sed -n 's/^# etcdfleet \([0-9]*\)$/\1/p' "$policy" 2>/dev/null || true)
if [ -n "$old" ] && ! kill -0 "$old" 2>/dev/null; then rm -f "$policy"; fi
trap undo EXIT
if [ -e "$policy" ] && ! grep -q '^# etcdfleet ' "$policy"; then mv -f "$policy" "$policy.etcdfleet-saved"; fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mine" | cat >"$policy"
chmod 755 "$policy"
tries=0
until said=$(dpkg --configure -a 2>&1); do
  tries=$((tries + 1))
  case $said in *lock*) [ $tries -lt "$lock_tries" ] && sleep 2 && continue ;; esac
  echo "$said" >&2
  exit 1
done
install_them() {
  get --no-install-recommends --allow-downgrades --allow-change-held-packages install "$@"
}
# Lists that are missing or too old show as a package that is unknown or no longer there: one update, one more try.
install_them "$@" || { get update && install_them "$@"; }
