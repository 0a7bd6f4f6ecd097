"""The CAs of the mounts that issue: made below the root CA, by Vault or by a root that is kept offline.

A CA that is there is adopted, and never replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.certs import Certificate, parse_pem_bundle, public_key_fingerprint
from etcdfleet.certs.authority import authority_problems
from etcdfleet.certs.chain import chain_problems, find_path
from etcdfleet.errors import CertificateError, FleetError, VaultError
from etcdfleet.settings.pki import KeyType
from etcdfleet.settings.vault import vault_pki
from etcdfleet.text import go_duration
from etcdfleet.vault.admin import check_pki
from etcdfleet.vault.desired import WantedMount
from tasks.vault.files import public_text, write_request
from tasks.vault.work import Setup, Work, longest_life

ROOT_NAME = "etcd root CA"
SLACK = timedelta(minutes=5)
"""A life that is shorter by more than this was cut."""
Mounts = Mapping[str, Mapping[str, Any]]


def authorities(task: Task, setup: Setup) -> Result:
    """Make a CA below the root for each mount that issues for a cluster and has none.

    Raises `VaultError`, and `CertificateError` for a CA that waits for the signature of a root kept offline, or got one
    that is not fit.
    """
    work = Work(setup, setup.fleet[task.host.name], task.is_dry_run())
    there = work.admin.mounts()
    roots = _make_root(work, there)
    failed: list[FleetError] = []
    for mount in work.mounts:
        if mount.path == mount.root or not needs_authority(work, mount, there):
            continue
        try:
            if mount.root is not None:
                _signed_by_vault(work, mount, mount.root, roots)
            else:
                _signed_offline(work, mount, roots, exists=mount.path in there)
        except FleetError as error:  # the other mount of the cluster is not held up by it
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise CertificateError(
            "; ".join(error.what for error in failed),
            where=", ".join(dict.fromkeys(error.where for error in failed)),
            remedy="; ".join(dict.fromkeys(error.remedy for error in failed)),
        )
    return work.result(task, "no CA differs")


def needs_authority(work: Work, mount: WantedMount, there: Mounts) -> bool:
    """Return whether a mount has no CA yet."""
    return mount.path not in there or not work.admin.has_issuer(mount.path)


def check_authorities(work: Work, there: Mounts) -> None:
    """Check the root CA (there, or may be made) and the CAs below it; warn of those that end too soon.

    Raises `VaultError` and `CertificateError`.
    """
    roots = _roots(work, there)
    if roots is None and not work.setup.create_root:
        path = work.pki.trust_anchor.mount
        raise VaultError(
            f"there is no root CA: {path} is {'a PKI mount without one' if path in there else 'no mount of Vault'}",
            where=work.admin.connection.address,
            remedy="--create-root makes one in Vault; or name the mount of yours (pki.trust_anchor.mount), or the file "
            "of a root that is kept elsewhere (pki.trust_anchor.file)",
        )
    for mount in work.mounts:
        if needs_authority(work, mount, there):
            continue
        texts = (work.admin.ca_pem(mount.path), *work.admin.ca_chain(mount.path))
        chain = list(dict.fromkeys(c for pem in texts for c in parse_pem_bundle(pem)))
        anchors = roots or ()
        problems = () if chain[0] in anchors else chain_problems(chain, anchors, at=_now())
        if problems:
            raise CertificateError(
                f"the CA that {mount.path} has does not lead to the root CA of the inventory: {problems[0]}",
                where=work.admin.connection.address,
                remedy="correct pki.trust_anchor, or name another mount; a CA that is there is never replaced",
            )
        if chain[0].not_after < _now() + _longest(work):
            work.warnings.append(
                f"{mount.path}: its CA ends at {chain[0].not_after:%Y-%m-%d}, before certificates of "
                f"{go_duration(_longest(work))} would, so Vault refuses to issue these: ask for a shorter life "
                "(pki.roles.<role>.ttl), or renew the CA"
            )


def _roots(work: Work, there: Mounts) -> tuple[Certificate, ...] | None:
    """Return the root CA; None when Vault has none yet. Raises `VaultError`, `CertificateError`."""
    anchor = work.pki.trust_anchor
    if anchor.file is not None:
        return _read(Path(anchor.file))
    mount = anchor.mount or ""
    if check_pki(there, mount) and work.admin.has_issuer(mount):
        return parse_pem_bundle(work.admin.ca_pem(mount))
    return None


def _make_root(work: Work, there: Mounts) -> tuple[Certificate, ...]:
    """Return the root CA, made when Vault has none (`check_authorities` has seen that it may be); none in a dry run."""
    roots = _roots(work, there)
    mount = work.pki.trust_anchor.mount
    if roots is not None or mount is None:
        return roots or ()
    if not work.make(f"{mount} gets the root CA {ROOT_NAME!r}"):
        return ()
    # The root outlives what it signs.
    lives = [vault_pki(members[0]).setup.ca_ttl for members in work.setup.sharing(work.members[0].cluster.name)]
    life = int(max(lives).total_seconds() * 1.5)
    if work.admin.longest(mount) < life:
        work.admin.tune(mount, life)
    work.admin.make_root(mount, ROOT_NAME, *_kind(work.pki.setup.ca_key_type), life)
    return parse_pem_bundle(work.admin.ca_pem(mount))


def _signed_by_vault(work: Work, mount: WantedMount, root: str, roots: Sequence[Certificate]) -> None:
    if not work.make(f"{mount.path} gets the CA {mount.ca_name!r}, signed by {root}"):
        return
    admin = work.admin
    life = mount.ca_ttl
    end = max(certificate.not_after for certificate in roots)
    if end < _now() + life:
        life = end - _now() - SLACK
        work.warnings.append(f"{mount.path}: its CA ends with the root CA, at {end:%Y-%m-%d}")
    limit = timedelta(seconds=admin.longest(root))
    if limit < life:
        raise VaultError(
            f"{root} would sign the CA of {mount.path} for {go_duration(limit)} (its max_lease_ttl) only, and not for "
            f"{go_duration(life)}",
            where=admin.connection.address,
            remedy=f"--yes raises it; or `vault secrets tune -max-lease-ttl={go_duration(life)} {root}`, or ask for "
            "less: pki.setup.ca_ttl",
        )
    csr = admin.request_ca(mount.path, mount.ca_name, *_kind(mount.key_type), key=_key_of(work, mount))
    signed = admin.sign_ca(root, csr, mount.ca_name, int(life.total_seconds()))
    problems = authority_problems(
        parse_pem_bundle(signed),
        roots,
        key=public_key_fingerprint(csr),
        until=_now() + max(_longest(work), life - SLACK),
        now=_now(),
    )
    if problems:
        raise CertificateError(
            f"what {root} signed for {mount.path} is not fit, and was not used: {'; '.join(problems)}",
            where=admin.connection.address,
            remedy=f"check the root CA in {root}, or ask for a shorter life: pki.roles.<role>.ttl",
        )
    admin.set_signed(mount.path, signed)


def _signed_offline(work: Work, mount: WantedMount, roots: Sequence[Certificate], *, exists: bool) -> None:
    """Bring a CA to its signature by a root that Vault does not have, in two runs."""
    files = work.setup.files
    request, signed = files.request(mount.path), files.signed_certificate(mount.path)
    key = _key_of(work, mount) if exists else ""
    if not signed.is_file() or not key:
        _ask_for_signature(work, mount, key)
        return
    chain = _read(signed)
    # The same key gives the same fingerprint, and in a dry run Vault is not asked to make anything.
    csr = "" if work.dry_run else work.admin.request_ca(mount.path, mount.ca_name, *_kind(mount.key_type), key=key)
    fingerprint = public_key_fingerprint(csr) if csr else public_text(request)
    problems = authority_problems(chain, roots, key=fingerprint, until=_now() + _longest(work), now=_now())
    if problems:
        raise CertificateError(
            f"the certificate for {mount.path} is not fit, and was not used: {'; '.join(problems)}",
            where=str(signed),
            remedy=f"have the root CA sign {request} as a CA, and put the certificate in place of this one",
        )
    if work.make(f"{mount.path} gets the CA {chain[0].title!r}, from {signed}"):
        path = find_path(chain, roots, at=_now()) or chain
        work.admin.set_signed(mount.path, "".join(certificate.pem for certificate in path))


def _ask_for_signature(work: Work, mount: WantedMount, key: str) -> None:
    files = work.setup.files
    request = files.request(mount.path)
    if work.dry_run:
        if not (key and request.is_file()):
            work.make(f"{request} is written, to be signed by the root CA")
        return
    csr = work.admin.request_ca(mount.path, mount.ca_name, *_kind(mount.key_type), key=key)
    if public_text(request) != public_key_fingerprint(csr):
        write_request(request, csr)
    raise CertificateError(
        f"the CA of {mount.path} waits for the signature of the root CA",
        where=str(request),
        remedy="have the root CA sign it as a CA (basicConstraints CA:TRUE, pathlen:0; keyUsage keyCertSign, cRLSign) "
        f"for {go_duration(mount.ca_ttl)}, put the certificate into {files.signed} under the same name with .pem, and "
        "run this again; docs/vault.md has the commands",
    )


def _key_of(work: Work, mount: WantedMount) -> str:
    """Return a key in a mount without a CA, of a run that was cut short or waits; empty if there is none."""
    return next(iter(sorted(work.admin.keys(mount.path))), "")


def _kind(key_type: KeyType) -> tuple[str, int]:
    kind, _, size = key_type.partition("-")
    return kind, int(size.lstrip("p"))


def _longest(work: Work) -> timedelta:
    return timedelta(seconds=longest_life(work.pki))


def _now() -> datetime:
    return datetime.now(UTC)


def _read(path: Path) -> tuple[Certificate, ...]:
    try:
        return parse_pem_bundle(path.read_text())
    except (OSError, UnicodeDecodeError, CertificateError) as error:
        raise CertificateError(
            f"cannot be read: {error}", where=str(path), remedy="it must be a PEM file with CA certificates"
        ) from None
