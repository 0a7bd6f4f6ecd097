"""The revocation lists on a host, which etcd reads at each handshake: what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from etcdfleet.certs import Certificate, leads_to, parse_or_empty
from etcdfleet.certs.crl import CrlPlan, parse_crl, plan_crl, signed_by
from etcdfleet.drivers.certificates import Source, needed_roles, needed_sides
from etcdfleet.errors import CertificateError
from etcdfleet.host.paths import HostPaths
from etcdfleet.remote import RemoteFile
from etcdfleet.roles import ROLE_NAMES, Side
from etcdfleet.settings.models import HostSettings
from tasks.certificates.anchors import trusted_text
from tasks.observe import Observed, Site


def crl_plans(site: Site, observed: Observed, source: Source) -> dict[str, CrlPlan]:
    """Return what becomes of each revocation list on a host, by path; nothing when etcd is to have none.

    Raises `FleetError`.
    """
    if not site.settings.pki.crl:
        return {}
    paths, now = HostPaths.of(site.settings), datetime.now(UTC)
    plans = {}
    for side in needed_sides(site.settings):
        issuers = [certificate for chain in source.issuers(side) for certificate in chain]
        wanted = parse_crl(source.crl(side), where=f"revocation list for {side}s")
        trusted = _trusted_cas(site.settings, observed, side, issuers)
        if not signed_by(wanted, issuers):
            raise CertificateError(
                f"the revocation list of {wanted.issuer} is not signed by the CA that issues ({issuers[0].subject})",
                where=site.settings.name,
                remedy="put the list of the CA that issues there",
            )
        file = observed.facts.files.get(paths.crl(side))
        there = file.content.decode("utf-8", "replace") if file else None
        plans[paths.crl(side)] = plan_crl(there, wanted, trusted, now=now)
    return plans


def crl_files(plans: Mapping[str, CrlPlan]) -> list[RemoteFile]:
    """Return the files to be placed for these plans."""
    return [RemoteFile(path, plan.pem.encode()) for path, plan in plans.items() if plan.pem]


def _trusted_cas(
    settings: HostSettings, observed: Observed, side: Side, issuers: Sequence[Certificate]
) -> list[Certificate]:
    """Return the CAs that are known here and that etcd on the host trusts on a side, as anchors or through them."""
    anchors = parse_or_empty(trusted_text(observed, side))
    pairs = [observed.facts.pairs.get(role) for role in ROLE_NAMES if role in needed_roles(settings)]
    above = [ca for pair in pairs if pair for ca in parse_or_empty(pair.pem)[1:]]
    cas = list(dict.fromkeys([*anchors, *above, *issuers]))
    at = observed.facts.clock_now
    return [ca for ca in cas if ca.is_ca and leads_to((ca, *cas), anchors, at=at)]
