"""A trial restore of a snapshot: what is run for it, and whether what came of it is what was noted. Pure but for keys.

The restored member speaks over sockets in a folder that only one user and root can enter, and only with a certificate
that was made for this drill: no other client gets in, whatever the snapshot says about authentication. The
certificate is of user root, so that authentication is no hindrance either.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etcdfleet.backup.note import Note
from etcdfleet.certs.local import key_pem, make_key
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.alarms import raised
from etcdfleet.etcd.answers import parse_hashkv, parse_status
from etcdfleet.remote.scripts import script

NO_ROOM = 28
_WAL_KIB = 2 * 64 * 1024
"""etcd makes the files of its log 64 MiB large before it writes to them, and one ahead."""
_SLOWEST = 1 << 20  # bytes a second that a card and a link make together
_VALID = timedelta(days=10 * 365)
"""Whatever the clock of the host says; the key is gone a moment later."""


@dataclass(frozen=True)
class Said:
    """What the restored member said of itself. ``key_hash`` is None where it gave none at the noted revision."""

    version: str
    revision: int
    keys: int
    alarms: tuple[str, ...]
    compacted: int = 0
    key_hash: int | None = None


def seconds_for(note: Note) -> float:
    """Return how long a drill may take, the way of the snapshot to the host included."""
    return 120 + 6 * note.size / _SLOWEST


def drill_script(note: Note, *folders: str, user: str, etcd: str, restorer: str, architecture: str) -> str:
    """Return the script that restores the snapshot on its standard input, starts it and prints what it says."""
    certificate, key = _pair()
    return script(
        "drill_snapshot",
        *folders,
        needed_kib=int(note.size * 2.2 / 1024) + _WAL_KIB + 8 * 1024,
        memory_kib=note.size // 2048 + 64 * 1024,
        no_room=NO_ROOM,
        user=user,
        size=note.size,
        seconds=int(seconds_for(note)),
        etcd=etcd,
        restorer=restorer,
        architecture=architecture,
        certificate=certificate,
        key=key,
        token=secrets.token_hex(8),
        revision=note.revision,
    )


def _pair() -> tuple[str, str]:
    key, now = make_key("ec-p256"), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = [x509.DNSName("localhost"), x509.DNSName("localhost:1")]  # as clients of the two versions read a socket
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key)


def read_said(text: str) -> Said:
    """Return what the script printed. Raise `VerificationError` for what cannot be read."""
    lines = {name: answer for name, _, answer in (line.partition(" ") for line in text.splitlines())}
    (status,) = parse_status(lines.get("status", ""))[:1] or (None,)
    if status is None:
        raise VerificationError("the restored member did not say how it is")
    hashes_ = parse_hashkv(lines["hashes"]) if lines.get("hashes") else ()
    return Said(
        version=status.version,
        revision=status.revision,
        keys=_count(lines.get("count", "")),
        alarms=tuple(sorted(raised((status,)))),
        compacted=max(0, hashes_[0].compact_revision) if hashes_ else 0,
        key_hash=hashes_[0].hash if hashes_ else None,
    )


def _count(text: str) -> int:
    try:
        answer: Mapping[str, Any] = json.loads(text)
        return int(answer.get("count") or 0)
    except (ValueError, AttributeError, TypeError):
        raise VerificationError("the restored member did not say how many keys it has") from None


def differences(note: Note, said: Said) -> tuple[str, ...]:
    """Return what the restored member has otherwise than was noted; nothing where the drill went well."""
    pairs: list[tuple[str, object, object]] = [("alarms", ", ".join(said.alarms), ", ".join(note.alarms))]
    # The first notes had the revision at which the snapshot was begun, and no keys: it holds at least that.
    if note.keys is None:
        if said.revision < note.revision:
            pairs.append(("revision", said.revision, f"at least {note.revision}"))
    else:
        pairs += [("revision", said.revision, note.revision), ("keys", said.keys, note.keys)]
    if note.key_hash is not None:
        pairs.append(("hash of its keys", said.key_hash, note.key_hash))
    return tuple(
        f"{name} {found if found not in ('', None) else 'none'}, and {noted or 'none'} noted"
        for name, found, noted in pairs
        if found != noted
    )


def compared(note: Note, said: Said) -> str:
    """Return in words what was compared in a drill that went well."""
    parts = [f"revision {said.revision}", f"{said.keys} keys"]
    if note.key_hash is not None:
        parts.append(f"hash {said.key_hash}")
    return f"{', '.join(parts)}{' as noted' if note.keys is not None else ''}"
