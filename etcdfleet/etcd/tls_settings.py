"""What etcd is told about TLS, and what it would ignore or not survive."""

from __future__ import annotations

from collections.abc import Mapping

from etcdfleet.certs import Certificate
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.versions import knows_tls_min_version
from etcdfleet.settings.ciphers import without_fit
from etcdfleet.settings.models import HostSettings


def tls_settings(settings: HostSettings) -> dict[str, object]:
    """Return what etcd is told about TLS, without its own minimum of 1.2: old versions do not know that key."""
    cluster = settings.cluster
    if not (cluster.client_tls or cluster.peer_tls):
        return {"cipher_suites": [], "tls_min_version": ""}
    wanted = cluster.tls_min_version
    return {"cipher_suites": list(cluster.suites), "tls_min_version": wanted if wanted != "TLS1.2" else ""}


def check_tls(settings: HostSettings, installed: str | None) -> None:
    """Raise `VerificationError` where etcd would ignore ``cluster.tls_min_version`` without a word.

    ``installed`` is the version of the program on the host; one that the settings name is known before it is there.
    """
    version = settings.install.version or installed
    if not tls_settings(settings)["tls_min_version"] or knows_tls_min_version(version):
        return
    raise VerificationError(
        f"cluster.tls_min_version: {settings.cluster.tls_min_version} would have no effect: etcd {version} does not "
        "know it (3.4 does from 3.4.25 on, 3.5 from 3.5.8 on), and would go on with TLS 1.2",
        where=settings.name,
        remedy="take the line out, or install a version that knows it (install.version) on all members first",
    )


def check_suites(settings: HostSettings, leaves: Mapping[str, Certificate]) -> None:
    """Raise `VerificationError` where a certificate on the host fits none of ``cluster.cipher_suites``.

    ``leaves`` are the certificates that etcd shows, by their role. With keys made elsewhere only they tell their kind.
    """
    for role in ("peer", "server"):
        suites, leaf = settings.cluster.suites, leaves.get(role)
        if suites and leaf and without_fit(suites, leaf.key_kind):
            raise VerificationError(
                f"none of cluster.cipher_suites works with the {role} certificate, whose key is {leaf.key_kind}: by "
                "TLS 1.2 no client could connect",
                where=settings.name,
                remedy="add the suite TLS_ECDHE_"
                + ("ECDSA" if leaf.key_kind.startswith("ec") else "RSA")
                + "_WITH_AES_128_GCM_SHA256, or remove the line cipher_suites",
            )
