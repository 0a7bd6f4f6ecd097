"""Which CA issues in Vault today, asked without a token and without waiting long: for runs that only look at clusters.

Such runs need no Vault. Where it answers, they say that members show certificates of another CA than it issues with
now: a change of CA that nothing on the hosts shows yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etcdfleet.certs.trust import readable
from etcdfleet.settings.base import ROLE_NAMES, SIDES, Side, side_of

if TYPE_CHECKING:
    from etcdfleet.certs import Certificate
    from etcdfleet.settings.models import HostSettings
    from etcdfleet.settings.pki import PkiSettings
    from tasks.observe import Observed

TIMEOUT = (1.0, 2.0)
"""Seconds for a connection to Vault and for its answer."""
PATIENCE_SECONDS = 1.5
"""So long after the first question, an answer that is still missing counts as none."""


class Issuing:
    """Asks Vault once for each PKI, beside whatever else is going on; safe for all threads of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, tuple[threading.Thread, float]] = {}
        self._found: dict[str, dict[Side, Certificate]] = {}

    def ask(self, settings: HostSettings) -> None:
        """Begins to ask, if nothing has asked for these settings yet."""
        key = settings.pki.model_dump_json()
        with self._lock:
            if key not in self._asked and settings.pki.source == "vault":
                thread = threading.Thread(target=self._look, args=(key, settings.pki), daemon=True)
                self._asked[key] = thread, time.monotonic()
                thread.start()

    def of(self, settings: HostSettings) -> Mapping[Side, Certificate]:
        """The CA that issues, by side; empty where Vault is not the source, or does not say it within a moment."""
        self.ask(settings)
        key = settings.pki.model_dump_json()
        if key not in self._asked:
            return {}
        thread, began = self._asked[key]
        thread.join(max(0.0, began + PATIENCE_SECONDS - time.monotonic()))
        return self._found.get(key, {})

    def _look(self, key: str, pki: PkiSettings) -> None:
        from dataclasses import replace

        from etcdfleet.certs import parse_pem_bundle
        from etcdfleet.errors import FleetError
        from etcdfleet.vault import Vault, VaultConnection
        from etcdfleet.vault.transport import Transport

        try:
            connection = replace(VaultConnection.from_env(address=pki.address, namespace=pki.namespace), auth=None)
            vault = Vault(connection, transport=Transport(connection, timeout=TIMEOUT, retries=0))
            mounts = {side: pki.mount_of(side) for side in SIDES}
            texts = {mount: vault.ca_pem(mount) for mount in dict.fromkeys(mounts.values())}
            self._found[key] = {side: parse_pem_bundle(texts[mount])[0] for side, mount in mounts.items()}
            vault.close()
        except (FleetError, ValueError):
            return  # nothing is known then


def other_issuers(seen: Observed, issuing: Mapping[Side, Certificate]) -> dict[Side, str]:
    """By side, the issuer of certificates on the host that are not of the CA which issues today."""
    from etcdfleet.certs.chain import issued

    found: dict[Side, str] = {}
    for role in ROLE_NAMES:
        authority, pair = issuing.get(side_of(role)), seen.facts.pairs.get(role)
        leaf = readable(pair.pem if pair else None)
        if authority and leaf and not issued(leaf[0], by=authority):
            found[side_of(role)] = leaf[1].title if len(leaf) > 1 else leaf[0].issuer
    return found
