"""What the steps of ``runbooks/setup_pki.py`` share: which Vault is whose, what was agreed to, and what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nornir.core.task import Result, Task

from etcdfleet.outcome import done
from etcdfleet.roles import ROLE_NAMES
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.vault import VaultPki, uses_vault, vault_pki
from etcdfleet.vault import desired as wanted
from etcdfleet.vault.admin import VaultAdmin
from tasks.vault.files import CsrFiles

Members = tuple[HostSettings, ...]
# What Vault warns of and is wanted: a CA for leaves only, and roles that are there before their CA.
_ON_PURPOSE = ("Max path length of the signed certificate is zero", "no default issuing certificate")


@dataclass(frozen=True)
class Setup:
    """What a run works with. ``vaults`` has the Vault of each cluster of the inventory, chosen or not.

    ``agreed`` are the differences (in the words of `Work.differs`) that may be changed, None all. ``planned`` is what a
    run with --check has said already: clusters share mounts, and nothing is made twice. With ``keep_names``, roles sign
    for names that no member of the inventory has any more, too.
    """

    fleet: Mapping[str, Members]
    vaults: Mapping[str, VaultAdmin]
    files: CsrFiles
    create_root: bool = False
    keep_names: bool = False
    agreed: frozenset[str] | None = frozenset()
    planned: set[str] = field(default_factory=set)

    def sharing(self, cluster: str) -> list[Members]:
        """Return the clusters of the inventory that have the same Vault, this one included."""
        own = self.vaults[cluster]
        return [self.fleet[name] for name, vault in self.vaults.items() if vault is own]


@dataclass
class Work:
    """One step for one cluster: what is found to be done, and done unless this is only a look.

    With ``look`` nothing counts but what differs; with ``dry_run`` nothing is changed.
    """

    setup: Setup
    members: Members
    dry_run: bool
    look: bool = False
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diff: str = ""

    @property
    def admin(self) -> VaultAdmin:
        """The cluster's Vault."""
        return self.setup.vaults[self.members[0].cluster.name]

    @property
    def pki(self) -> VaultPki:
        """The cluster's settings; they are the same for all its members."""
        return vault_pki(self.members[0])

    @property
    def mounts(self) -> tuple[wanted.WantedMount, ...]:
        """The mounts that issue for the cluster."""
        connection = self.admin.connection
        return wanted.mounts(self.members, connection.address, connection.namespace)

    def make(self, what: str, diff: str = "") -> bool:
        """Note something that is missing, with what a diff shows of it; return whether to make it."""
        if self.look or (self.dry_run and what in self.setup.planned):
            return False
        self.setup.planned.add(what)
        self.changes.append(what)
        self.diff += diff or f"+{what}\n"
        return not self.dry_run

    def differs(self, title: str, differences: Sequence[wanted.Difference]) -> bool:
        """Note how something that exists differs; return whether to change it."""
        if not differences:
            return False
        what = f"{title}: {'; '.join(str(one) for one in differences)}"
        if self.look:
            self.left.append(what)
            return False
        if self.dry_run and what in self.setup.planned:
            return False
        self.setup.planned.add(what)
        self.diff += wanted.as_diff(title, differences)
        if self.setup.agreed is not None and what not in self.setup.agreed:
            self.left.append(what)
            return False
        self.changes.append(what)
        return not self.dry_run

    def result(self, task: Task, summary: str) -> Result:
        """Return the result of the step."""
        heard = [
            f"Vault says: {text}" for text in self.admin.warnings if not any(words in text for words in _ON_PURPOSE)
        ]
        self.admin.warnings.clear()
        left = [f"left as it is: {text} (--yes changes it)" for text in self.left]
        if self.changes:
            more = len(self.changes) - 1
            summary = self.changes[0] + (f", and {more} more" if more else "")
        elif self.left:
            summary = f"{len(self.left)} left as they are, and differ"
        return done(task, summary, self.changes, [*self.warnings, *heard, *left], diff=self.diff)


def no_need(members: Members) -> str:
    """Return why a cluster needs nothing of Vault; empty if it does."""
    if not uses_vault(members[0]):
        return f"its certificates come from {members[0].pki.source}"
    cluster = members[0].cluster
    return "" if cluster.peer_tls or cluster.client_tls else "it has no TLS"


def longest_life(pki: VaultPki) -> float:
    """Return the longest life that is asked for certificates, in seconds."""
    return max(pki.roles[role].ttl.total_seconds() for role in ROLE_NAMES)
