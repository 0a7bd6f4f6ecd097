"""Files encrypted to public keys of age, and decrypted again. ``pyrage`` is imported when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etcdfleet.errors import UsageError, VerificationError

PACKAGES = "requirements/offhost.txt"


def encrypt(source: Path, target: Path, recipients: Sequence[str]) -> None:
    """Encrypt a file to these public keys. Raise `FleetError`."""
    pyrage = package("pyrage")
    try:
        keys = [pyrage.x25519.Recipient.from_str(one) for one in recipients]
        pyrage.encrypt_file(str(source), str(target), keys)
    except (pyrage.RecipientError, pyrage.EncryptError) as error:
        raise VerificationError(
            f"the backup cannot be encrypted: {error}",
            where="backup.recipients",
            remedy="write public keys as age-keygen prints them",
        ) from error


def identities(identity: Path | None, where: str) -> Sequence[Any]:
    """Return the secret keys in a file, as age-keygen writes it, for the copy that lies there. Raise `UsageError`."""
    if identity is None:
        raise UsageError(
            "the copy is encrypted, and no secret key was named",
            where=where,
            remedy="add --identity KEYFILE, the file of age-keygen with the secret key to one of backup.recipients",
        )
    pyrage = package("pyrage")
    try:
        lines = [line.strip() for line in identity.expanduser().read_text().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError):
        found = []
    if not found:
        raise UsageError(
            "this is no file with secret keys of age that can be read",
            where=str(identity),
            remedy="name the file that age-keygen wrote: a line in it begins with AGE-SECRET-KEY-",
        )
    return found


def decrypt(source: Path, target: Path, keys: Sequence[Any]) -> None:
    """Decrypt a file with one of these secret keys. Raise `FleetError`."""
    pyrage = package("pyrage")
    try:
        pyrage.decrypt_file(str(source), str(target), keys)
    except pyrage.DecryptError as error:
        raise UsageError(
            f"the copy cannot be decrypted with this key: {error}",
            where="--identity",
            remedy="name the file with the secret key to one of the backup.recipients that were set when it was sent",
        ) from error


def package(name: str) -> Any:
    """Return a package that only copies off this machine need. Raise `UsageError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UsageError(
            f"the Python package {package} is not installed, which copies off this machine need",
            where="backup.url",
            remedy=f"pip install --require-hashes -r {PACKAGES}, into the environment of the runbooks",
        ) from None
