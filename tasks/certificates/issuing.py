"""Which CA issues today, asked without a secret and without waiting long: for runs that only look at clusters.

Such runs need no Vault. Where it answers (or another source that tells), they say that members show certificates of
another CA than it issues with now: a change of CA that nothing on the hosts shows yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etcdfleet import timeouts
from etcdfleet.certs.chain import issued
from etcdfleet.certs.trust import parse_or_empty
from etcdfleet.drivers.certificates import driver_of
from etcdfleet.errors import FleetError
from etcdfleet.roles import ROLE_NAMES, Side, side_of

if TYPE_CHECKING:
    from etcdfleet.certs import Certificate
    from etcdfleet.settings.models import HostSettings
    from etcdfleet.settings.pki import PkiSettings
    from tasks.observe import Observed


class Issuing:
    """Ask the source once for each PKI, beside whatever else is going on; safe for all threads of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, tuple[threading.Thread, float]] = {}
        self._found: dict[str, Mapping[Side, Certificate]] = {}

    def ask(self, settings: HostSettings) -> None:
        """Begin to ask, if nothing has asked for these settings yet."""
        key = settings.pki.model_dump_json()
        with self._lock:
            if key not in self._asked and settings.pki.tells_issuers:
                thread = threading.Thread(target=self._look, args=(key, settings.pki), daemon=True)
                self._asked[key] = thread, time.monotonic()
                thread.start()

    def of(self, settings: HostSettings) -> Mapping[Side, Certificate]:
        """Return the CA that issues, by side; empty where the source does not say it within a moment."""
        self.ask(settings)
        key = settings.pki.model_dump_json()
        if key not in self._asked:
            return {}
        thread, began = self._asked[key]
        thread.join(max(0.0, began + timeouts.ISSUING_CA - time.monotonic()))
        return self._found.get(key, {})

    def _look(self, key: str, pki: PkiSettings) -> None:
        try:
            self._found[key] = driver_of(pki.source).issuing(pki)
        except (FleetError, ValueError):
            return  # nothing is known then


def other_issuers(observed: Observed, issuing: Mapping[Side, Certificate]) -> dict[Side, str]:
    """By side, the issuer of certificates on the host that are not of the CA which issues today."""
    issuers: dict[Side, str] = {}
    for role in ROLE_NAMES:
        authority, pair = issuing.get(side_of(role)), observed.facts.pairs.get(role)
        leaf = parse_or_empty(pair.pem if pair else None)
        if authority and leaf and not issued(leaf[0], by=authority):
            issuers[side_of(role)] = leaf[1].title if len(leaf) > 1 else leaf[0].issuer
    return issuers
