"""What a failed request to Vault means to a person: what is wrong, where, and what to do about it. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from etcdfleet.errors import VaultError
from etcdfleet.host.proxies import proxy_for
from etcdfleet.vault.answers import Status
from etcdfleet.vault.connection import SET_UP, WAYS_IN, AppRoleAuth, VaultConnection
from etcdfleet.vault.transport import CONNECT_SECONDS, READ_SECONDS, RETRIES, Broken, Refused


def policy_for(needs: Mapping[str, Iterable[str]]) -> str:
    """Return the lines of a Vault policy that grant ``needs`` (path to capabilities)."""
    rules = {path: ", ".join(f'"{each}"' for each in sorted(set(wanted))) for path, wanted in needs.items()}
    return "\n".join(f'path "{path}" {{ capabilities = [{rule}] }}' for path, rule in rules.items())


def broken(failure: Broken, connection: VaultConnection) -> VaultError:
    """Explain that there was no answer."""
    proxy = proxy_for(connection.address)
    trusted = "VAULT_CACERT names " + str(connection.verify) if isinstance(connection.verify, str) else "it is not set"
    what, remedy = {
        "refused": (
            "Vault cannot be reached: nothing listens at this address",
            "start Vault there, or correct VAULT_ADDR or pki.address",
        ),
        "name": (
            "the name in Vault's address does not resolve on this machine",
            "correct VAULT_ADDR or pki.address, or the name service of this machine",
        ),
        "tls": (
            f"Vault's TLS connection is not trustworthy: {failure.detail}",
            f"set VAULT_CACERT to the CA certificate that signed the one of Vault's listener ({trusted}), and reach "
            "Vault by a name in that certificate",
        ),
        "connect-timeout": (
            f"Vault does not answer: no connection within {CONNECT_SECONDS:.0f} s",
            "see whether Vault is up, and whether a firewall is between it and this machine",
        ),
        "read-timeout": (
            f"Vault took the request but did not answer within {READ_SECONDS:.0f} s",
            "see Vault's own log: its storage may be slow or without a quorum",
        ),
        "dropped": (
            f"Vault dropped the connection, {RETRIES + 1} times in a row",
            "see Vault's own log, and what stands between it and this machine (a proxy, a load balancer)"
            # A TLS listener may answer plain http with a few words or by hanging up, as the timing has it.
            + ("; if it speaks TLS, begin its address with https://" if connection.address.startswith("http:") else ""),
        ),
        "proxy": (f"Vault cannot be reached through a proxy: {failure.detail}", "check the proxy"),
        "other": (f"Vault cannot be reached: {failure.detail}", "correct VAULT_ADDR or pki.address"),
    }[failure.kind]
    if proxy and failure.kind == "proxy":
        what = f"Vault cannot be reached through {proxy}: {failure.detail}"
        remedy = f"where Vault is in this network, go past the proxy: {proxy.past}; else correct {proxy.variable}"
    elif proxy:
        what, remedy = f"{what} (asked through {proxy})", f"{remedy}; or go past the proxy: {proxy.past}"
    return VaultError(what, where=connection.address, remedy=remedy)


def unready(status: Status, connection: VaultConnection) -> VaultError | None:
    """Return why this server cannot serve in its present state; None when it can."""
    if not status.initialised:
        what, remedy = "Vault is not initialised", "run `vault operator init` (`bao operator init`)"
    elif status.sealed:
        what, remedy = "Vault is sealed", "unseal it: `vault operator unseal` (`bao operator unseal`), then again"
    else:
        return None
    return VaultError(what, where=connection.address, remedy=remedy)


def refused(refusal: Refused, path: str, need: str, connection: VaultConnection) -> VaultError:
    """Explain a refusal of ``path``, which takes the capability ``need``. 403 is for ``forbidden``."""
    reason, where = refusal.words, f"{connection.address}, {path}"
    lower = reason.lower()
    if "no default issuer" in lower or "could not fetch the ca certificate" in lower:
        return no_ca(where)
    if "http request to an https server" in lower:
        where, what, remedy = connection.address, "Vault speaks TLS on this port", "begin its address with https://"
    elif "no handler for route" in lower or "unsupported path" in lower:
        what = f"Vault has no PKI mount that serves this path ({reason})"
        remedy = (
            "correct pki.mounts, pki.mount or pki.trust_anchor.mount in the inventory (see `vault secrets list`); "
            "python runbooks/setup_pki.py makes the mounts that are missing"
        )
    elif "namespace not found" in lower:
        what, remedy = f"Vault has no namespace {connection.namespace!r}", "correct VAULT_NAMESPACE or pki.namespace"
    elif "active cluster node not found" in lower or refusal.status in (472, 473):
        what = "this Vault server is a standby, and its cluster has no leader at present"
        remedy = "check the other Vault servers (down or sealed?), then run again"
    elif refusal.status == 429:
        what, remedy = f"Vault limits the rate of requests: {reason}", "wait, or use fewer --forks"
    elif correction := next((correction for words, correction in _ROLE_SAYS_NO.items() if words in lower), ""):
        what, remedy = f"the role refuses what was asked for: {reason}", f"{correction}; {SET_UP}"
    elif refusal.status >= 500:
        what, remedy = f"Vault failed: {reason}", "see Vault's own log"
    else:
        what, remedy = f"Vault refused: {reason}", f"the request needs {need or 'no rights'}"
    return VaultError(what, where=where, remedy=remedy)


def no_ca(where: str) -> VaultError:
    """Explain that the mount exists, but has no CA."""
    return VaultError(
        "the PKI mount has no CA certificate yet",
        where=where,
        remedy="python runbooks/setup_pki.py makes it below the root CA; by hand: `vault write "
        "<mount>/root/generate/internal …`, or set it (`…/intermediate/set-signed`)",
    )


_ROLE_SAYS_NO = {
    "ip subject alternative name": "set allow_ip_sans=true on the role (for the client role: ask for no addresses)",
    "allowed by this role": "add the name to the role's allowed_domains (with allow_bare_domains=true), or correct the "
    "names in the inventory (member.fqdn, cluster.service_name)",
    "expiration of the ca": "ask for a shorter life (pki.roles.<role>.ttl), or renew the CA of the mount",
    "ttl": "correct pki.roles.<role>.ttl, or the role's max_ttl",
    "common_name": "the role wants a common name; see its require_cn and allowed_domains",
}


def login_refused(refusal: Refused, auth: AppRoleAuth, connection: VaultConnection) -> VaultError:
    """Explain that the AppRole login failed."""
    where = f"{connection.address}, auth/{auth.mount}/login"
    if refusal.status == 400:
        return VaultError(
            f"Vault does not accept the AppRole: {refusal.words}",
            where=where,
            remedy=f"correct {auth.source}; a secret id may have expired or been used up: make a new one "
            f"(`vault write -f auth/{auth.mount}/role/<role>/secret-id`)",
        )
    # Vault says just "permission denied" in both cases.
    return VaultError(
        f"Vault does not let the AppRole log in: {refusal.words}",
        where=where,
        remedy="after some logins with a wrong secret id Vault locks the AppRole: wait (15 minutes, by default), or "
        f"unlock it (`vault write -f sys/locked-users/<accessor>/unlock/{auth.role_id}`, with the accessor that `vault "
        f"auth list` shows for {auth.mount}/); if that list lacks {auth.mount}/: `vault auth enable -path={auth.mount} "
        f"approle`; or log in another way: {WAYS_IN}",
    )


def bad_token(source: str, connection: VaultConnection) -> VaultError:
    """Explain that Vault knows nothing of the token."""
    return VaultError(
        f"Vault does not accept the token from {source}: it is wrong, expired or revoked, or belongs to another Vault",
        where=connection.address,
        remedy=f"log in again (`vault login`), or {WAYS_IN}",
    )


def forbidden(path: str, need: str, source: str, connection: VaultConnection) -> VaultError:
    """Explain that the token is good, but not for ``path``."""
    return VaultError(
        f'the token from {source} may not use this path; it needs the capability "{need}"',
        where=f"{connection.address}, {path}",
        remedy=f"add to a policy of the token: {policy_for({path: (need,)})} (and see that the path is right: "
        "pki.mount and pki.roles.<role>.name); python runbooks/setup_pki.py makes policy and AppRole as the inventory "
        "has them",
    )
