#!/bin/sh
# How the host keeps its time: "container" (its host does), "synchronized", "daemon NAME". Read by checks/host.py.
if [ -e /run/systemd/container ] || tr '\0' '\n' </proc/1/environ 2>/dev/null | grep -q '^container='; then
  echo container
fi
[ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null)" = yes ] && echo synchronized
for name in chronyd ntpd openntpd systemd-timesyncd; do
  pgrep -f "(^|/)$name( |\$)" >/dev/null 2>&1 && echo "daemon $name" && break
done
true
