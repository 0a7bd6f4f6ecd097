"""Which names a role of a PKI mount signs for, judged before anything is asked of it. Pure functions.

The rules are those of Vault's and OpenBao's PKI engine (``validateNames`` in ``builtin/logical/pki/cert_util.go``), as
far as a role's own settings decide: what depends on the token (templates, display names) is left to the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from etcdfleet.vault.answers import RoleFacts


def names_refused(facts: RoleFacts, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``names`` that the role does not sign for, in their order."""
    if facts.allow_any_name or any("{{" in domain for domain in facts.allowed_domains):
        return ()
    return tuple(name for name in dict.fromkeys(names) if not _allowed(facts, name.lower()))


def name_problem(facts: RoleFacts, names: Sequence[str], addresses: Sequence[str]) -> str:
    """Return why the role would not sign for these names and addresses; empty if it would, as far as its settings say.

    An empty name stands for a certificate without a common name.
    """
    if "" in names and facts.require_cn:
        return (
            "it demands a common name (require_cn), and none can be given: the FQDN has more than 64 characters and "
            "is only among the names of the certificate"
        )
    names = [name for name in names if name]
    refused = names_refused(facts, names)
    if refused:
        allowed = ", ".join(facts.allowed_domains) or "no name"
        return f"it does not sign for {', '.join(refused)} (it allows {allowed})"
    if addresses and not facts.allow_ip_sans:
        return f"it signs for no IP address, and {', '.join(addresses)} must be in the certificate (allow_ip_sans)"
    return ""


def _allowed(facts: RoleFacts, name: str) -> bool:
    if facts.allow_localhost and name in ("localhost", "localdomain"):
        return True
    for domain in (word.lower() for word in facts.allowed_domains):
        if facts.allow_bare_domains and name == domain:
            return True
        if facts.allow_subdomains and name.endswith("." + domain):
            return True
        if facts.allow_glob_domains and "*" in domain and fnmatchcase(name, domain):
            return True
    return False
