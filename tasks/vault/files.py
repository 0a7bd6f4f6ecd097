"""Files on the controller: requests of CAs for a root that is kept offline, and the credentials of the AppRole."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.certs import public_key_fingerprint
from etcdfleet.errors import CertificateError, UsageError
from etcdfleet.files import write_whole

HEADING = "# Made by etcdfleet: how deploy logs in to Vault. Source it: . "


@dataclass(frozen=True)
class CsrFiles:
    """Where requests are written to, and signed certificates are looked for."""

    requests: Path
    signed: Path

    def request(self, mount: str) -> Path:
        """Return where the CSR of a mount's CA is."""
        return self.requests / f"{mount.replace('/', '_')}.csr"

    def signed_certificate(self, mount: str) -> Path:
        """Return where the certificate that the root made of it is."""
        return self.signed / f"{mount.replace('/', '_')}.pem"


def public_text(path: Path) -> str:
    """Return the fingerprint of the key that a CSR file is for; empty when there is none, or it cannot be read."""
    try:
        return public_key_fingerprint(path.read_text())
    except (OSError, UnicodeDecodeError, CertificateError):
        return ""


def write_request(path: Path, csr: str) -> None:
    """Write a CSR. Raises UsageError when it cannot."""
    _write(path, csr if csr.endswith("\n") else csr + "\n", 0o644)


def must_be_ours(path: Path) -> None:
    """Raise UsageError when there is a file of that name that is not one of `write_credentials`."""
    try:
        ours = not path.exists() or path.read_text().startswith(HEADING)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise UsageError(
            "there is another file of that name", where=str(path), remedy="choose another one, or replace it with --yes"
        )


def write_credentials(path: Path, variables: Mapping[str, str]) -> None:
    """Write a file that sets variables, for its owner only. Raises UsageError when it cannot."""
    # A token would win over the AppRole, and the file may be sourced where the administrator's is still set.
    lines = [f"{HEADING}{path.name}", "unset VAULT_TOKEN VAULT_TOKEN_FILE"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    _write(path, "\n".join(lines) + "\n", 0o600)


def read_credentials(path: Path) -> dict[str, str]:
    """Return the variables that a file of `write_credentials` sets. Raises UsageError for another file."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None
    if not text.startswith(HEADING):
        raise UsageError("it was not made by setup_pki.py --secret-id", where=str(path))
    words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("export ")]
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _write(path: Path, text: str, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text, mode)
    except OSError as error:
        raise UsageError(
            f"cannot be written: {error.strerror or error}", where=str(path), remedy="choose another place"
        ) from None
