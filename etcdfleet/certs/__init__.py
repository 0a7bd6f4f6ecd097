"""Certificates: reading them, what each role needs, when to renew, and the check before one is placed.

Pure functions over text and frozen data; nothing here knows hosts, SSH or Vault.
"""

from etcdfleet.certs.chain import accepts, bundle, chain_problems, issued, same_certificates, way_of
from etcdfleet.certs.check import check_bundle
from etcdfleet.certs.decide import Keep, Observed, Renew, decide
from etcdfleet.certs.model import Certificate, parse_pem_bundle, public_key_fingerprint
from etcdfleet.certs.request import request_problems
from etcdfleet.certs.trust import (
    MemberTrust,
    besides,
    leads_to,
    merge_pem,
    must_trust_first,
    parse_or_empty,
    shown_by_all,
    still_shown,
)
from etcdfleet.certs.want import Want, want_for

__all__ = [
    "Certificate",
    "Keep",
    "MemberTrust",
    "Observed",
    "Renew",
    "Want",
    "accepts",
    "besides",
    "bundle",
    "chain_problems",
    "check_bundle",
    "decide",
    "issued",
    "leads_to",
    "merge_pem",
    "must_trust_first",
    "parse_or_empty",
    "parse_pem_bundle",
    "public_key_fingerprint",
    "request_problems",
    "same_certificates",
    "shown_by_all",
    "still_shown",
    "want_for",
    "way_of",
]
