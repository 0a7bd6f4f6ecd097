"""The Debian host kinds: bookworm or trixie with systemd, sshd, sudo and a user ``pi``. No etcd.

Packages come from where this machine's own apt gets Debian from, and the hosts get the same sources.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lab.errors import LabError
from lab.run import run
from lab.state import Kind

SUITE = "bookworm"
"""The release that hosts have unless their kind says otherwise."""
SUITES: Mapping[Kind, str] = {"debian": SUITE, "debian13": "trixie", "debian-armhf": SUITE}
"""The release of each Debian kind: their etcd packages are of different versions."""
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "procps",
    "openssl",
    "libfaketime",
)
UNSTABLE = "sid"
USER = "pi"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# The daily jobs would take apt's lock in the middle of a test; the others make no sense without hardware.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "console-getty.service",
    "systemd-pstore.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
)

# qemu's emulation cannot do the mount calls behind LoadCredential; without this, these three fail in an ARM host.
NO_CREDENTIALS = ("systemd-sysusers", "systemd-tmpfiles-setup-dev", "systemd-tmpfiles-setup")


@cache
def native_architecture() -> str:
    """Debian's name of this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).strip()


@cache
def sources(suite: str = SUITE) -> tuple[str, ...]:
    """Return lines for sources.list: this machine's Debian archives, for ``suite``. Raises LabError without any."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if re.match(r"\w+=", line)
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    fields = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)|$(SIGNED_BY)"
    targets = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    lines = debian_lines(targets, codename, suite)
    if not lines:
        raise LabError(
            "apt on this machine knows no Debian archive",
            where="/etc/apt",
            remedy="the lab needs a Debian machine with its archives in the apt sources (and apt-get update once)",
        )
    return lines


def debian_lines(targets: str, codename: str, wanted: str = SUITE) -> tuple[str, ...]:
    """Return lines of sources.list for the suite ``wanted``, from apt's index targets on Debian ``codename``.

    Archives of others (vendors' repositories) and suites that are not the release's own are left out, security updates
    too: hosts live for minutes, and mirrors are often out of step there, which fails every `apt-get update`.
    """
    lines: list[str] = []
    for target in targets.splitlines():
        origin, suite, uri, component, signed_by = target.split("|")
        match = re.fullmatch(rf"{re.escape(codename)}(-updates)?", suite)
        # Before the first apt-get update the origin is not known yet.
        if not codename or not match or component != "main" or origin not in ("Debian", ""):
            continue
        if match[1] and wanted == UNSTABLE:  # it has no updates beside it
            continue
        # A key that only this machine has (a file elsewhere, or one in the sources) is not in the image.
        option = f"[signed-by={KEYRING}] " if signed_by == KEYRING else ""
        line = f"deb {option}{uri} {wanted}{match[1] or ''} {component}"
        if line not in lines:
            lines.append(line)
    return tuple(lines)


@cache
def apt_options() -> tuple[str, ...]:
    """Return how apt here reaches its archives (proxy, checks, retries): settings for mmdebstrap and the hosts."""
    wanted = r'Acquire::(Check-Valid-Until|Check-Date|Retries|ForceIPv4|https?::(Proxy|Timeout|Pipeline-Depth)) ".+";'
    options = [line for line in run(["apt-config", "dump"]).splitlines() if re.fullmatch(wanted, line)]
    own = ['Acquire::Languages "none";', 'Acquire::GzipIndexes "true";', 'APT::Install-Recommends "false";']
    return (*options, *own)


def build(target: Path, architecture: str, suite: str = SUITE) -> None:
    """Fill the empty folder ``target`` with ``suite`` for ``architecture``. Raises LabError.

    A foreign architecture needs its emulator registered before (see ``lab.machine``).
    """
    list_file = target.with_name(f"{target.name}.list")
    list_file.write_text("\n".join(sources(suite)) + "\n")
    try:
        run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=apt",
                # Links instead of the usrmerge package, whose perl takes an emulated host a minute to configure.
                "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                f"--architectures={architecture}",
                f"--include={','.join(PACKAGES)}",
                *(f"--aptopt={option}" for option in apt_options()),
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                # Hosts are thrown away: surviving a power cut in the middle of dpkg is not worth a sync per file.
                "--dpkgopt=force-unsafe-io",
                # With the package lists in it, a host installs at once, as one that is kept up to date.
                # check/qemu would want one more package to test what has been registered before.
                "--skip=cleanup/apt/lists,check/empty,check/qemu",
                suite,
                str(target),
                str(list_file),
            ],
            timeout=1800,
        )
    finally:
        list_file.unlink()
    _finish(target, suite)


def _finish(target: Path, suite: str) -> None:
    inside = ["chroot", str(target)]
    run([*inside, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", USER])
    for unit in MASKED:
        link = target / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for unit in NO_CREDENTIALS:
        folder = target / f"etc/systemd/system/{unit}.service.d"
        folder.mkdir()
        (folder / "lab.conf").write_text("[Service]\nLoadCredential=\n")
    # Not the package ca-certificates: hashing its files takes an emulated host longer than all other packages together.
    if BUNDLE.exists():
        shutil.copyfile(BUNDLE, target / "etc/ssl/certs/ca-certificates.crt")
    (target / "etc/default/locale").touch()  # PAM complains at every login if it is missing
    # Each lab makes its own host keys, each host has its own identity and names.
    for key in (target / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"):
        (target / name).unlink(missing_ok=True)
    (target / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    sshd = (
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
    )
    (target / "etc/ssh/sshd_config.d/lab.conf").write_text(sshd)
    journal = target / "etc/systemd/journald.conf.d"
    journal.mkdir(parents=True, exist_ok=True)
    (journal / "lab.conf").write_text("[Journal]\nSystemMaxUse=64M\nForwardToConsole=no\n")
    # apt's own index of the lists: building it takes an emulated host most of an `apt-get install`.
    run([*inside, "apt-cache", "gencaches"], timeout=600)
    shutil.rmtree(target / "var/log/apt", ignore_errors=True)
    recipe = {"suite": suite, "packages": list(PACKAGES)}
    (target / "etc/lab-image.json").write_text(json.dumps(recipe) + "\n")
