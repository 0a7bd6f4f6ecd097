"""An Alpine package repository with etcd, and the web server of the lab that offers it.

Made by Alpine's own ``apk mkpkg`` and ``apk mkndx``, run from the cached image by its own loader, so that nothing is
changed in the image. The packages are cut as in Alpine's testing repository: ``etcd`` (server, user by a pre-install
script, ``/etc/etcd/conf.yml``), ``etcd-ctl``, ``etcd-openrc`` (pulled in by itself where OpenRC is). They are unsigned,
as a home-made repository is: ``apk add`` needs ``--allow-untrusted``. Release archives are served beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import daemons, images, releases
from lab.errors import LabError
from lab.state import Lab

PORT = 8080
DAEMON = "web"
ARCHITECTURE = "x86_64"
START_SECONDS = 10.0

USER_SCRIPT = """\
#!/bin/sh
addgroup -S etcd 2>/dev/null
adduser -S -D -H -h /dev/null -s /sbin/nologin -G etcd -g etcd etcd 2>/dev/null
exit 0
"""

# A sample, as the package brings one: a single member on the loopback without TLS.
SAMPLE_CONFIG = """\
# This is the configuration file for the etcd server.
name: 'default'
data-dir: /var/lib/etcd
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
advertise-client-urls: http://localhost:2379
initial-advertise-peer-urls: http://localhost:2380
initial-cluster: default=http://localhost:2380
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
"""

CONF_D = """\
# The user etcd runs as, and the folder of its log.
USER=etcd
LOGPATH=/var/log/etcd

# If a configuration file is used, etcd ignores options and environment.
ETCD_CONFIG=/etc/etcd/conf.yml
ETCD_DATA_DIR=/var/lib/etcd

# More options for the command line.
#ETCD_OPTS=""
"""

INIT_D = """\
#!/sbin/openrc-run
supervisor=supervise-daemon
name="$RC_SVCNAME"
description="Highly-available key-value store"
command=/usr/bin/etcd
command_args="--config-file=$ETCD_CONFIG $ETCD_OPTS"
command_user="$USER:$USER"
output_log="$LOGPATH/etcd.log"
error_log="$LOGPATH/etcd.log"
supervise_daemon_args="--chdir $ETCD_DATA_DIR"

depend() {
	need net
}

start_pre() {
	checkpath -d -m 0755 -o "$command_user" "$LOGPATH"
	checkpath -d -m 0700 -o "$command_user" "$ETCD_DATA_DIR"
}
"""


@dataclass(frozen=True)
class Package:
    """One package: ``files`` are (path, source or text, mode), ``folders`` (path, mode, owned by etcd)."""

    name: str
    description: str
    files: tuple[tuple[str, Path | str, int], ...]
    folders: tuple[tuple[str, int], ...] = ()
    install_if: str = ""
    pre_install: str = ""


def packages(version: str) -> tuple[Package, ...]:
    """Return what the repository offers, for the package version ``version`` (such as 3.5.1-r0)."""
    return (
        Package(
            "etcd",
            "A highly-available key value store for shared configuration and service discovery",
            (
                ("usr/bin/etcd", releases.binary("etcd"), 0o755),
                ("etc/etcd/conf.yml", SAMPLE_CONFIG, 0o644),
            ),
            folders=(("var/lib/etcd", 0o700),),
            pre_install=USER_SCRIPT,
        ),
        Package(
            "etcd-ctl", "A command-line client for etcd", (("usr/bin/etcdctl", releases.binary("etcdctl"), 0o755),)
        ),
        Package(
            "etcd-openrc",
            "A highly-available key value store (OpenRC init scripts)",
            (("etc/init.d/etcd", INIT_D, 0o755), ("etc/conf.d/etcd", CONF_D, 0o644)),
            install_if=f"openrc etcd={version}",
        ),
    )


def base_url(lab: Lab) -> str:
    """Return where the lab's web server listens."""
    return f"http://{lab.address}:{PORT}"


def url(lab: Lab) -> str:
    """Return the repository, as ``install.repository`` of an inventory names it."""
    return f"{base_url(lab)}/alpine"


def content() -> Path:
    """Folder the web server serves: built by ``prepare``, named after what it is made from."""
    stamp = hashlib.sha256()
    for module in (sys.modules[__name__], releases):
        stamp.update(inspect.getsource(module).encode())
    stamp.update(releases.version().encode())
    return images.cache_folder() / f"web-{stamp.hexdigest()[:12]}"


def prepare(say: Callable[[str], None]) -> Path:
    """Build repository and release archives with the apk of the Alpine image unless cached (2 s); returns the folder.

    Raises LabError when a part is missing or apk fails.
    """
    folder = content()
    if folder.is_dir():
        return folder
    alpine_root = images.ensure(["alpine"], say)["alpine"]
    say("building the package repository and the release archive")
    with (folder.parent / "web.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():  # another lab built it while we waited
            return folder
        for leftover in folder.parent.glob(".web-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=".web-", dir=folder.parent) as name:
            work = Path(name)
            root = work / "root"
            build(alpine_root, root / "alpine", work)
            releases.build(root)
            root.chmod(0o755)
            root.rename(folder)
    return folder


def build(alpine_root: Path, repository: Path, work: Path) -> None:
    """Write the packages and their index to ``repository``/x86_64, with temporary files in ``work``.

    Raises LabError when apk fails.
    """
    folder = repository / ARCHITECTURE
    folder.mkdir(parents=True)
    # apk writes owners by name, looked up in the accounts of its root.
    accounts = work / "accounts"
    (accounts / "etc").mkdir(parents=True)
    (accounts / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\netcd:x:100:100:etcd:/dev/null:/sbin/nologin\n")
    (accounts / "etc/group").write_text("root:x:0:root\netcd:x:100:\n")
    version = f"{releases.version()}-r0"
    made = []
    for package in packages(version):
        tree = work / package.name
        tree.mkdir()
        _fill(tree, package)
        made.append(folder / f"{package.name}-{version}.apk")
        arguments = ["--files", str(tree), "--output", str(made[-1]), "--compression", "deflate:1"]
        for key, value in _info(package, version).items():
            arguments += ["--info", f"{key}:{value}"]
        if package.pre_install:
            script = work / f"{package.name}.pre-install"
            script.write_text(package.pre_install)
            arguments += ["--script", f"pre-install:{script}"]
        _apk(alpine_root, accounts, "mkpkg", *arguments)
        shutil.rmtree(tree)
    index = folder / "APKINDEX.tar.gz"
    _apk(alpine_root, accounts, "mkndx", "--allow-untrusted", "--output", str(index), *map(str, made))


def _fill(tree: Path, package: Package) -> None:
    for name, source, mode in package.files:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.copyfile(source, path)
        else:
            path.write_text(source)
        path.chmod(mode)
    for name, mode in package.folders:
        path = tree / name
        path.mkdir(parents=True)
        path.chmod(mode)
        os.chown(path, 100, 100)
    for path in (tree, *tree.rglob("*")):  # parents: world-readable whatever the umask is here
        if path.is_dir() and path.relative_to(tree).as_posix() not in dict(package.folders):
            path.chmod(0o755)


def _info(package: Package, version: str) -> dict[str, str]:
    info = {
        "name": package.name,
        "version": version,
        "arch": ARCHITECTURE,
        "description": package.description,
        "license": "Apache-2.0",
        "origin": "etcd",
        "url": "https://github.com/etcd-io/etcd",
    }
    return info | ({"install-if": package.install_if} if package.install_if else {})


def _apk(alpine_root: Path, accounts: Path, *arguments: str) -> None:
    loader = next(iter(sorted(alpine_root.glob("lib/ld-musl-*.so.1"))), None)
    if loader is None:
        raise LabError("this is not an Alpine root file system", where=str(alpine_root))
    path = f"{alpine_root}/lib:{alpine_root}/usr/lib"
    command = [str(loader), "--library-path", path, str(alpine_root / "sbin/apk"), "--root", str(accounts)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"apk {arguments[0]} failed: {(done.stderr or done.stdout).strip()}", where="Alpine repository")


def up(lab: Lab, say: Callable[[str], None] = lambda _: None) -> None:
    """Serve repository and releases on the bridge address until ``down``; fine if it is served already.

    Raises LabError when the server does not answer within 10 s.
    """
    folder = prepare(say)
    if daemons.main_pid(lab, DAEMON) is not None and _answers(lab):
        return
    daemons.stop(lab, DAEMON)
    argv = [sys.executable, "-m", "http.server", str(PORT), "--bind", lab.address, "--directory", str(folder)]
    # Not the caller's environment, in which there may be tokens.
    daemons.start(lab, DAEMON, argv, env={"PATH": os.defpath})
    end = time.monotonic() + START_SECONDS
    while not _answers(lab):
        if time.monotonic() > end or daemons.main_pid(lab, DAEMON) is None:
            raise LabError(
                f"the lab's web server did not start: {daemons.tail(lab, DAEMON)}",
                where=base_url(lab),
                remedy=f"free port {PORT} on {lab.address}",
            )
        time.sleep(0.05)


def down(lab: Lab) -> None:
    """End the web server; fine if it is not running."""
    daemons.stop(lab, DAEMON)


def _answers(lab: Lab) -> bool:
    try:
        socket.create_connection((lab.address, PORT), timeout=1).close()
    except OSError:
        return False
    return True
