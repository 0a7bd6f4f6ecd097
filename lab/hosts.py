"""Hosts: containers booted by systemd-nspawn, with an overlay over an image and a network namespace of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from pathlib import Path

from lab import cgroups, daemons, network
from lab.errors import LabError
from lab.run import run
from lab.state import Lab, LabHost, write_atomic

DATA_DIRECTORY = "var/lib/etcd"
_SSH_KEY = "etc/ssh/ssh_host_ed25519_key"


def daemon(host: LabHost) -> str:
    """Name of the host's daemon, control group and console log."""
    return f"host-{host.name}"


def make_keys(lab: Lab) -> None:
    """Make the key that logs in to the hosts, the hosts' own keys, known_hosts, and the sudo password if one asks."""
    keys = [(lab.key, f"etcdfleet-lab-{lab.name}")]
    (lab.dir / "hosts").mkdir(exist_ok=True)
    for host in lab.hosts:
        lab.host_dir(host).mkdir(exist_ok=True)
        keys.append((lab.host_dir(host) / "ssh_host_ed25519_key", host.name))
    for path, comment in keys:
        if not path.with_suffix(".pub").exists():
            path.unlink(missing_ok=True)  # cut off half way
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    lines = [f"{host.address},{host.name},{host.fqdn} {_public_key(lab, host)}" for host in lab.hosts]
    write_atomic(lab.known_hosts, "\n".join(lines) + "\n")
    if any(host.sudo_password for host in lab.hosts) and not lab.sudo_password_file.exists():
        write_atomic(lab.sudo_password_file, secrets.token_urlsafe(18) + "\n", mode=0o600)


def _public_key(lab: Lab, host: LabHost) -> str:
    return " ".join((lab.host_dir(host) / "ssh_host_ed25519_key.pub").read_text().split()[:2])


def start(lab: Lab, host: LabHost, image: Path | None = None) -> None:
    """Boot the host; its disk is made from ``image`` if it has none yet. Returns before it is up (see ``wait``).

    Does nothing if it runs. Raises LabError.
    """
    if daemons.running(lab, daemon(host)):
        return
    stop(lab, host)  # whatever an earlier run left
    folder = lab.host_dir(host)
    if not (folder / "prepared").exists():
        if image is None:
            raise LabError("the host has no disk yet", where=host.name, remedy=f"python -m lab up --name {lab.name}")
        for name in ("upper", "work"):
            if (folder / name).exists():  # of a start that was cut off before the host was prepared
                shutil.rmtree(folder / name)
        write_atomic(folder / "image", f"{image}\n")
    _mount(lab, host)
    if not (folder / "prepared").exists():
        _prepare(lab, host)
        (folder / "prepared").touch()
    network.connect(lab, host)
    binds = [f"--bind={folder / 'data'}:/{DATA_DIRECTORY}"] if host.disk else []
    argv = [
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--boot",
        f"--directory={lab.root(host)}",
        f"--machine={machine_name(lab, host)}",
        f"--hostname={host.name}",
        "--register=no",
        "--keep-unit",
        f"--network-namespace-path=/run/netns/{lab.netns(host)}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        *binds,
    ]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    daemons.start(lab, daemon(host), argv, env=environment, memory=host.memory)


def machine_name(lab: Lab, host: LabHost) -> str:
    """Name of the container, unique on the machine."""
    return f"ef{lab.id}-{host.name}"


def stop(lab: Lab, host: LabHost) -> None:
    """Pull the power cord: every process of the host ends at once, nothing is said to it; its disk stays."""
    daemons.stop(lab, daemon(host))
    network.disconnect(lab, host)
    forget_lock(lab.root(host))
    unmount(lab.host_dir(host))
    for place in ("propagate", "unix-export"):
        with contextlib.suppress(OSError):  # nspawn removes it itself unless it is killed
            (Path("/run/systemd/nspawn") / place / machine_name(lab, host)).rmdir()


def unmount(folder: Path) -> None:
    """Unmount all that is mounted in ``folder``, deepest first. Raises LabError if something cannot be unmounted."""
    deadline = time.monotonic() + 5
    while mounted := mounts_in(folder):
        run(["umount", mounted[-1]], check=False)
        if mounts_in(folder) == mounted:
            if time.monotonic() > deadline:
                raise LabError(
                    "cannot be unmounted", where=mounted[-1], remedy=f"end what uses it: fuser -m {mounted[-1]}"
                )
            time.sleep(0.1)


def mounts_in(folder: Path) -> list[str]:
    """Mount points in ``folder``, in the order they were mounted."""
    places = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].encode().decode("unicode_escape")
        if place.startswith(f"{folder}/"):
            places.append(place)
    return places


def _mount(lab: Lab, host: LabHost) -> None:
    folder = lab.host_dir(host)
    image = (folder / "image").read_text().strip()
    if not Path(image).is_dir():
        raise LabError("the image the host's disk is based on is gone", where=image, remedy="down, then up")
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("upper", "root"):
        (folder / name).chmod(0o755)  # it is the host's root folder, whatever the caller's umask
    options = f"lowerdir={image},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    run(["mount", "-t", "overlay", f"ef{lab.id}", "-o", options, str(lab.root(host))])
    if host.disk:
        disk = folder / "data.img"
        if not disk.exists():
            unfinished = disk.with_suffix(".new")
            with unfinished.open("wb") as file:
                file.truncate(host.disk)
            run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", "etcd", str(unfinished)])
            unfinished.rename(disk)
        (folder / "data").mkdir(exist_ok=True)
        run(["mount", "-o", "loop", str(disk), str(folder / "data")])


def _prepare(lab: Lab, host: LabHost) -> None:
    """Make the image this host: name, identity, keys, users. Written through the mounted overlay, never beneath it."""
    root = lab.root(host)
    _put(root, "etc/hostname", f"{host.name}\n")
    # etcd looks `localhost` up. No line for the host's own name: that is the name server's to answer.
    _put(root, "etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    _put(root, "etc/resolv.conf", f"nameserver {lab.address}\n")
    _put(root, "etc/machine-id", secrets.token_hex(16) + "\n", mode=0o444)
    private = (lab.host_dir(host) / "ssh_host_ed25519_key").read_text()
    _put(root, _SSH_KEY, private, mode=0o600)
    _put(root, f"{_SSH_KEY}.pub", f"{_public_key(lab, host)} {host.name}\n")
    home, uid, gid = _account(root, host.login)
    ssh = root / home.lstrip("/") / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    os.chown(ssh, uid, gid)
    authorized = _put(ssh, "authorized_keys", lab.key.with_suffix(".pub").read_text(), mode=0o600)
    os.chown(authorized, uid, gid)
    if host.login != "root":
        asks = "" if host.sudo_password else "NOPASSWD: "
        _put(root, "etc/sudoers.d/lab", f"{host.login} ALL=(ALL) {asks}ALL\n", mode=0o440)
    if host.sudo_password:
        _set_password(root, host.login, lab.sudo_password_file.read_text())
    if host.disk:
        (root / DATA_DIRECTORY).mkdir(exist_ok=True)


def _put(root: Path, name: str, text: str, mode: int = 0o644) -> Path:
    # A new file under a temporary name: a link in the image (such as resolv.conf) must not lead out of the root.
    path = root / name
    write_atomic(path, text, mode)
    return path


def _account(root: Path, login: str) -> tuple[str, int, int]:
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == login:
            return fields[5], int(fields[2]), int(fields[3])
    raise LabError(f"the image has no user {login}", where=str(root), remedy="remove the image from the cache")


def _set_password(root: Path, login: str, password: str) -> None:
    digest = run(["openssl", "passwd", "-6", "-stdin"], stdin=password).strip()
    shadow = root / "etc/shadow"
    lines = [line.split(":") for line in shadow.read_text().splitlines()]
    text = "".join(":".join([f[0], digest, *f[2:]] if f[0] == login else f) + "\n" for f in lines)
    info = shadow.stat()
    _put(root, "etc/shadow", text, mode=info.st_mode & 0o7777)
    os.chown(shadow, info.st_uid, info.st_gid)


def wait(lab: Lab, host: LabHost, *, timeout: float = 60) -> None:
    """Wait until the host's sshd answers; raises LabError with the end of its console if it does not in ``timeout`` s.

    A host whose cable is pulled cannot answer and is not waited for.
    """
    if network.is_cut(lab, host):
        return
    deadline = time.monotonic() + timeout
    while not (ssh_answers(host) and _lets_in(lab, host)):
        alive = daemons.running(lab, daemon(host))
        if not alive or time.monotonic() > deadline:
            what = f"did not come up within {timeout:.0f} s" if alive else "stopped while it booted"
            console = daemons.tail(lab, daemon(host))
            log = lab.logs / f"{daemon(host)}.log"
            raise LabError(f"{what}; its console says:\n{console}", where=host.name, remedy=f"see {log}")
        time.sleep(0.1)


def _lets_in(lab: Lab, host: LabHost) -> bool:
    # While systemd boots, this file makes sshd turn everybody but root away.
    pid = init_pid(lab, host)
    return pid is not None and not Path(f"/proc/{pid}/root/run/nologin").exists()


def ssh_answers(host: LabHost) -> bool:
    """Return whether an SSH server greets at the host's address."""
    try:
        with socket.create_connection((host.address, 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def init_pid(lab: Lab, host: LabHost) -> int | None:
    """Return the controller's number of the host's process 1, None if it does not run."""
    candidates: list[tuple[int, int]] = []
    for pid in cgroups.processes(f"{lab.cgroup}/{daemon(host)}", settled=True):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) > 1 and numbers[-1] == "1":
                candidates.append((len(numbers), pid))
    return min(candidates)[1] if candidates else None


def enter_command(lab: Lab, host: LabHost, argv: list[str]) -> list[str]:
    """Command line that runs ``argv`` as root inside the host, without SSH or network. Raises LabError if it is off."""
    pid = init_pid(lab, host)
    if pid is None:
        raise LabError("the host is switched off", where=host.name, remedy=f"python -m lab start {host.name}")
    command = argv if len(argv) > 1 else ["/bin/sh", "-c", argv[0]]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    term = os.environ.get("TERM", "dumb")
    inside = ["env", "-i", path, "HOME=/root", f"TERM={term}", *command]
    # The working folder too: otherwise it would be the caller's, outside of the host.
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", *inside]


def forget_lock(root: Path) -> None:
    """Remove the lock of a killed nspawn: named after the folder it booted, which nothing else can have mounted."""
    if os.path.ismount(root):
        info = root.stat()
        (Path("/run/systemd/nspawn/locks") / f"inode-{info.st_dev}:{info.st_ino}").unlink(missing_ok=True)


def forget(identity: str) -> None:
    """Remove what nspawn leaves behind in /run when it is killed, for all hosts of the lab with that id."""
    for place in ("propagate", "unix-export"):
        for folder in (Path("/run/systemd/nspawn") / place).glob(f"ef{identity}-*"):
            with contextlib.suppress(OSError):
                folder.rmdir()
