"""Images that have etcd's packages already: for hosts whose first deploy is to find them installed.

A copy of the image of the same kind, in which the same packages are installed as a deploy would install: on Debian from
its archives, on Alpine from the lab's own repository. etcd has never run there, and is not started at boot.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.run import run

SUFFIX = "+etcd"
"""Ends the name of such an image, after the kind."""

# /proc and /dev are for the packages' scripts; names are looked up as this machine does. In mounts of its own, so that
# they are gone with the process, even after kill -9.
_INSIDE = (
    'root="$1" && shift && mount -t proc proc "$root/proc" && mount --bind /dev "$root/dev" && '
    'if [ -d "$1" ]; then mount --bind "$1" "$root/mnt"; fi && shift && '
    'for file in /etc/resolv.conf /etc/hosts; do touch "$root$file" && mount --bind "$file" "$root$file"; done && '
    'exec chroot "$root" /bin/sh -ec "$1"'
)
_DEBIAN = """\
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
install() { apt-get -q -y --no-install-recommends install etcd-server etcd-client; }
install || { apt-get -q update && install; }
rm /usr/sbin/policy-rc.d
systemctl disable etcd.service
apt-get clean
rm -rf /var/log/apt
apt-cache gencaches
"""
_ALPINE = "apk add --quiet --no-network --repository /mnt/alpine --allow-untrusted etcd etcd-openrc etcd-ctl"


def build(target: Path, base: Path, repository: Path | None) -> None:
    """Fill the empty folder ``target`` with ``base`` and etcd, from the lab's ``repository`` on Alpine.

    Raises LabError.
    """
    run(["cp", "-a", f"{base}/.", str(target)], timeout=300)
    script = _ALPINE if repository else _DEBIAN
    # What the image has not is made for the mount alone.
    names = [name for name in ("etc/resolv.conf", "etc/hosts") if not (target / name).exists()]
    inside = ["sh", "-c", _INSIDE, "sh", str(target), str(repository or ""), script]
    run(["unshare", "--mount", "--propagation", "private", *inside], timeout=1800)
    for name in names:
        (target / name).unlink()
    # What a service of the package would have made.
    shutil.rmtree(target / "var/lib/etcd/default", ignore_errors=True)
