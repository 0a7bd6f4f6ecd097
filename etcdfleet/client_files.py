"""The files of a person or program that uses a cluster: key, certificate, CA, and an environment for etcdctl."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.etcd.etcdctl import past_proxies
from etcdfleet.files import temporary, write_whole

_OLD_ETCDCTL = """\
# etcdctl 3.3 and older speaks the old API unless it is told; 3.6 and newer warns of the variable.
case "$(etcdctl --version 2>/dev/null)" in "etcdctl version: 3."[0-3].*) export ETCDCTL_API=3 ;; esac
"""


@dataclass(frozen=True)
class ClientFiles:
    """Where the files of client ``name`` lie. ``folder`` is absolute."""

    folder: Path
    name: str

    @property
    def certificate(self) -> Path:
        """The certificate with its chain."""
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        """The private key, mode 0600."""
        return self.folder / f"{self.name}.key"

    @property
    def ca(self) -> Path:
        """The CAs that vouch for the cluster's members, each up to its root."""
        return self.folder / "ca.pem"

    @property
    def environment(self) -> Path:
        """To be sourced before etcdctl."""
        return self.folder / f"{self.name}.env"

    @property
    def existing(self) -> tuple[Path, ...]:
        """Which of them are there already."""
        return tuple(path for path in (self.key, self.certificate, self.environment) if path.exists())

    def variables(self, endpoints: Sequence[str]) -> Mapping[str, str]:
        """Return what etcdctl wants in its environment."""
        return {
            "ETCDCTL_ENDPOINTS": ",".join(endpoints),
            "ETCDCTL_CACERT": str(self.ca),
            "ETCDCTL_CERT": str(self.certificate),
            "ETCDCTL_KEY": str(self.key),
        }

    def write_ca(self, ca: str) -> None:
        """Write the file of CAs alone. Raises `FleetError` when the folder cannot be written."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.ca, ca, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, *, key: str, certificate: str, ca: str, endpoints: Sequence[str], about: str) -> None:
        """Write all files: each is there whole or not at all, and a key never beside another key's certificate.

        ``about`` are the first lines of the environment's file, as comments. Raises `FleetError` when the folder cannot
        be written.
        """
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.variables(endpoints).items())
        text += _OLD_ETCDCTL + past_proxies([urlsplit(endpoint).hostname or endpoint for endpoint in endpoints]) + "\n"
        contents = {
            self.key: (key, 0o600),
            self.certificate: (certificate, 0o644),
            self.ca: (ca, 0o644),
            self.environment: ("".join(f"# {line}\n" for line in about.splitlines()) + text, 0o644),
        }
        ready: dict[Path, Path] = {}
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                for path, (content, mode) in contents.items():
                    ready[path] = temporary(path, content, mode)
                self.certificate.unlink(missing_ok=True)
                for path, made in ready.items():
                    made.replace(path)
            finally:
                for left in ready.values():
                    left.unlink(missing_ok=True)
            _sync(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> FleetError:
        return FleetError(
            f"the files cannot be written: {error.strerror or error}",
            where=str(error.filename or self.folder),
            remedy="choose a folder of yours with --out",
        )


def client_files(out: Path, name: str) -> ClientFiles:
    """Return the files of ``name`` in folder ``out``. Raises `UsageError` for a name unfit for a user or a file."""
    if not name or name != name.strip() or not name.isprintable() or "/" in name or name.startswith((".", "-")):
        raise UsageError(
            f"{name!r} cannot be the name of a user and of files",
            remedy="give the name of the user in auth.users, without a slash, and not beginning with a dot or a minus",
        )
    if len(name) > 64:
        raise UsageError(
            f"{name!r} is too long for the common name of a certificate", remedy="use at most 64 characters"
        )
    return ClientFiles(out.expanduser().absolute(), name)


def _sync(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
