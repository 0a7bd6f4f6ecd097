"""Whether a host's key is the right one, by known_hosts as OpenSSH reads it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

Every line is judged for itself: one that cannot be read takes nothing from the others. Keys are compared as bytes.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from etcdfleet.text import some

AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_CERTIFIED = "-cert-v01@openssh.com"
_FOREVER = 2**64 - 1


@dataclass(frozen=True)
class KnownKey:
    """A line that can be read. ``where`` is FILE:LINE; ``marker`` is empty for an ordinary key."""

    where: str
    marker: str
    names: tuple[str, ...]
    kind: str
    blob: bytes


@dataclass(frozen=True)
class Damaged:
    """A line that cannot be read, and why."""

    where: str
    names: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class KnownHosts:
    """What some known_hosts files say, in their order."""

    keys: tuple[KnownKey, ...] = ()
    damaged: tuple[Damaged, ...] = ()

    def of(self, name: str) -> tuple[KnownKey, ...]:
        """Return the lines for a host; ``name`` is ``host``, or ``[host]:port`` where the port is not 22."""
        return tuple(key for key in self.keys if is_named(key.names, name))


def notes_of(known_hosts: KnownHosts) -> tuple[str, ...]:
    """Return what the user should know about these files, as one warning. Pure."""
    if not known_hosts.damaged:
        return ()
    lines = some([f"{line.where} ({line.why})" for line in known_hosts.damaged])
    return (f"known_hosts has lines that cannot be read and do not count: {lines}; correct or remove them",)


class Verdict(Enum):
    """What becomes of a host that shows a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"
    NOT_CERTIFIED = "not certified"


@dataclass(frozen=True)
class Judgement:
    """A verdict; ``why`` is evidence: the line that says so, or what is wrong with a certificate."""

    verdict: Verdict
    why: str = ""


def read_known_hosts(paths: Sequence[Path]) -> KnownHosts:
    """Return what the files say; those that do not exist say nothing. Raises OSError for one that may not be read."""
    keys: list[KnownKey] = []
    damaged: list[Damaged] = []
    for path in paths:
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        entries = parse_known_hosts(content, str(path))
        keys += entries.keys
        damaged += entries.damaged
    return KnownHosts(tuple(keys), tuple(damaged))


def parse_known_hosts(content: bytes, name: str) -> KnownHosts:
    """Return the lines of one file called ``name``; any bytes will do. Pure."""
    keys: list[KnownKey] = []
    damaged: list[Damaged] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        words = raw.decode("utf-8", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{name}:{number}"
        marker = words.pop(0) if words[0].startswith("@") else ""
        names = tuple(words[0].split(",")) if words else ()
        if marker not in ("", AUTHORITY, REVOKED):
            damaged.append(Damaged(where, names, f"the marker {marker} is unknown"))
        elif len(words) > 1 and words[1].isdigit():
            continue  # a key of SSH protocol 1, which nothing uses any more
        elif len(words) < 3:
            damaged.append(Damaged(where, names, "a name, a kind of key and a key are needed"))
        else:
            blob = _blob(words[1], words[2])
            if blob is None:
                damaged.append(Damaged(where, names, f"this is no {words[1]} key"))
            else:
                keys.append(KnownKey(where, marker, names, words[1], blob))
    return KnownHosts(tuple(keys), tuple(damaged))


def _blob(kind: str, text: str) -> bytes | None:
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    size = int.from_bytes(blob[:4], "big")
    return blob if len(blob) > 4 + size and blob[4 : 4 + size] == kind.encode("utf-8", "replace") else None


def is_named(names: Sequence[str], name: str) -> bool:
    """Return whether a line's names mean ``name``: wild cards, ``!`` for none of those, and hashed names."""
    name, named = name.lower(), False
    for pattern in names:
        if pattern.startswith("|1|"):
            named = named or _hashed(pattern, name)
        elif pattern.startswith("!"):
            if _like(name, pattern[1:].lower()):
                return False
        else:
            named = named or _like(name, pattern.lower())
    return named


def _like(name: str, pattern: str) -> bool:
    # Only * and ? are special in known_hosts; brackets belong to [host]:port.
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _hashed(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), digest)


def names_of(hostname: str, port: int, alias: str = "") -> tuple[str, ...]:
    """Return the names that a host is looked for by, the best one first: as ssh does it, also without its port."""
    if alias:
        return (alias,)
    return (hostname,) if port == 22 else (f"[{hostname}]:{port}", hostname)


def judge(
    known_hosts: KnownHosts, names: Sequence[str], kind: str, blob: bytes, *, now: float | None = None
) -> Judgement:
    """Return whether the key that a host shows is its own. ``blob`` is the public key, or the certificate, as sent."""
    best = [known_hosts.of(name) for name in names]
    lines = [line for matches in best for line in matches]
    if kind.endswith(_CERTIFIED):
        return _judge_certificate(lines, names, kind, blob, time.time() if now is None else now)
    for line in lines:
        if line.marker == REVOKED and line.blob == blob:
            return Judgement(Verdict.REVOKED, line.where)
    for line in lines:
        if not line.marker and line.blob == blob:
            return Judgement(Verdict.KNOWN, line.where)
    # Under the name without its port, another key is another host's: only the first name can tell of a change.
    others = [line for line in best[0] if not line.marker] if best else []
    same = [line for line in others if line.kind == kind]
    if same:
        return Judgement(Verdict.CHANGED, f"{same[0].where} has another {kind} key")
    if others:
        kinds = ", ".join(sorted({line.kind for line in others}))
        return Judgement(Verdict.UNKNOWN, f"{others[0].where} has a key of another kind for it: {kinds}, not {kind}")
    if authority := next((line for line in lines if line.marker == AUTHORITY), None):
        return Judgement(Verdict.UNKNOWN, f"it shows no certificate of the authority in {authority.where}")
    return Judgement(Verdict.UNKNOWN)


def _judge_certificate(
    lines: Sequence[KnownKey], names: Sequence[str], kind: str, blob: bytes, now: float
) -> Judgement:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        SSHCertificate,
        SSHCertificateType,
        load_ssh_public_identity,
    )

    def no(why: str) -> Judgement:
        return Judgement(Verdict.NOT_CERTIFIED, why)

    sent = kind.replace("rsa-sha2-256", "ssh-rsa").replace("rsa-sha2-512", "ssh-rsa")
    try:
        certificate = load_ssh_public_identity(sent.encode() + b" " + base64.b64encode(blob))
        if not isinstance(certificate, SSHCertificate):
            return no("it cannot be read")
        certificate.verify_cert_signature()
    except (ValueError, InvalidSignature) as error:
        return no(f"it cannot be read, or its signature is wrong: {error}")

    def wire(key: object) -> bytes:
        text: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)  # type: ignore[attr-defined]
        return base64.b64decode(text.split()[1])

    authority, plain = wire(certificate.signature_key()), wire(certificate.public_key())
    for line in lines:
        if line.marker == REVOKED and line.blob in (authority, plain):
            return Judgement(Verdict.REVOKED, line.where)
    signer = next((line for line in lines if line.marker == AUTHORITY and line.blob == authority), None)
    if signer is None:
        if any(not line.marker and line.blob == plain for line in lines):
            return Judgement(Verdict.KNOWN, "the key in it is known itself")
        return no("none of the authorities in known_hosts has signed it")
    if certificate.type is not SSHCertificateType.HOST:
        return no("it is a user's certificate, not a host's")
    if not certificate.valid_after <= now or (certificate.valid_before != _FOREVER and now >= certificate.valid_before):
        return no("it is not valid now (has it ended, or is a clock wrong?)")
    if certificate.critical_options:
        return no("it has a critical option, and hosts' certificates have none")
    allowed = [name.decode("utf-8", "replace") for name in certificate.valid_principals]
    wanted = [name.removeprefix("[").rpartition("]:")[0] if name.startswith("[") else name for name in names]
    if allowed and not any(_like(name.lower(), pattern.lower()) for name in wanted for pattern in allowed):
        return no(f"it is for {', '.join(allowed)}, and not for {wanted[0]}")
    return Judgement(Verdict.KNOWN, signer.where)


def preferred_kinds(lines: Sequence[KnownKey], offered: Sequence[str], possible: Sequence[str]) -> list[str]:
    """Return the order in which host key algorithms are offered: those first that known_hosts can judge, as ssh does.

    ``offered`` is what the connection would offer, ``possible`` what it could.
    """
    kinds = {line.kind for line in lines if not line.marker}
    certified = any(line.marker == AUTHORITY for line in lines)

    def is_known(algorithm: str) -> bool:
        return ("ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm) in kinds

    plain = [algorithm for algorithm in offered if not algorithm.endswith(_CERTIFIED)]
    first = [a + _CERTIFIED for a in plain if a + _CERTIFIED in possible] if certified else []
    return [*first, *(a for a in plain if is_known(a)), *(a for a in plain if not is_known(a))]


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint as OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
