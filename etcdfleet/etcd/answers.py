"""What ``etcdctl -w json`` says about a cluster, as frozen data.

Measured with the real binaries; their recorded output is in ``tests/unit/fixtures/``. 3.6 adds fields.

=====================  ================================================================================
API                    3.4.23 and 3.5.1: v3 by default (``ETCDCTL_API=3`` says nothing new, and 3.6 complains of it)
ids in JSON            both: uint64 numbers; hexadecimal strings with ``--hex``
zero-valued fields     both: omitted (``revision`` 0, ``leader`` 0, ...)
``member list``        3.4: one member's memory, so also without a quorum, and possibly stale;
                       3.5: linearizable: without a quorum nothing on stdout, exit 1 after the time-out
``endpoint status``    both: ``--cluster`` exists; one endpoint after the other; stdout has those that
                       answered (``[]`` if none), stderr "Failed to get the status of endpoint URL
                       (why)" for the others, exit 1
``endpoint health``    both: ``--cluster`` exists; all endpoints at the same time, in no particular
                       order; stdout has all of them, the dead too; exit 1 and "Error: unhealthy
                       cluster" on stderr if one is unhealthy.
                       With the NOSPACE alarm: 3.4 healthy, 3.5 "Active Alarm(s): NOSPACE "
``endpoint hashkv``    both: ``--cluster`` and ``--rev N`` exist; one after the other; output and exit as
                       for status. A member that is behind N fails with "required revision is a future
                       revision", one beyond with "required revision has been compacted"
the hash               both: depends on the revision asked for and the member's compact revision, so it is
                       comparable only if both agree; ``header.revision`` is the member's *current* one
a dead endpoint        both: costs the whole ``--command-timeout`` (5 s), refused or silent; for status
                       and hashkv once per dead endpoint
http and https         both: endpoints may be mixed in one call with ``--cacert --cert --key``: each is
                       spoken to by its own scheme
a refused client       both: "context deadline exceeded", after the time-out; the cause is only in the
                       client's log line on stderr (see `unanswered`)
=====================  ================================================================================

A call to three healthy members takes 0.02 s (3.4) to 0.04 s (3.5), of any kind, on an x86 machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.versions import minor_of
from etcdfleet.text import go_seconds

SLOW_READ = 1.0
"""Seconds from which on a read through a member is worth a sentence, TLS handshake included. One that is quicker did
not wait for an election: there was a leader."""


@dataclass(frozen=True)
class Member:
    """One entry of the member list.

    A member has started if it has client URLs: it publishes them (``publish`` in ``server.go``) once it has joined a
    quorum. The name proves nothing: members of a static bootstrap are listed by name before any of them runs.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False

    @property
    def started(self) -> bool:
        """Whether this member has ever joined the cluster."""
        return bool(self.client_urls)


@dataclass(frozen=True)
class MemberList:
    """The answer to ``member list``: the cluster it comes from, and its members."""

    cluster_id: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class ExpectedMember:
    """A member as the inventory has it; the URLs are the advertised ones."""

    name: str
    peer_url: str
    client_url: str


@dataclass(frozen=True)
class EndpointStatus:
    """One endpoint's answer to ``endpoint status``. Sizes in bytes; ``leader_id`` is 0 while it knows of no leader.

    ``storage`` is the version of its data, and ``going_back_to`` the minor version to which etcd's own job leads the
    cluster (``etcdctl downgrade enable``), empty without one; etcd says both from 3.6 on.
    """

    endpoint: str
    member_id: int
    cluster_id: int
    version: str
    db_size: int
    db_size_in_use: int
    leader_id: int
    term: int
    raft_index: int
    raft_applied: int
    revision: int
    learner: bool = False
    errors: tuple[str, ...] = ()
    storage: str = ""
    going_back_to: str = ""

    def facts(self) -> dict[str, Any]:
        """Return what the report records of it."""
        return {
            "version": self.version,
            "member_id": hex_id(self.member_id),
            "cluster_id": hex_id(self.cluster_id),
            "leader": self.leader_id == self.member_id,
            "db_size_bytes": self.db_size,
            "revision": self.revision,
            "raft_term": self.term,
        }


@dataclass(frozen=True)
class EndpointHealth:
    """One endpoint's ``endpoint health``: whether a linearizable read through it worked; ``took`` in seconds."""

    endpoint: str
    healthy: bool
    took: float
    error: str = ""


@dataclass(frozen=True)
class HashKV:
    """One endpoint's key space hash; ``revision`` is its current one, ``compact_revision`` -1 before any compaction."""

    endpoint: str
    hash: int
    revision: int
    compact_revision: int


Answer = TypeVar("Answer", EndpointStatus, EndpointHealth, HashKV)
Parsed = TypeVar("Parsed")


def parse_member_list(stdout: str, stderr: str = "") -> MemberList:
    """Read ``etcdctl -w json member list``. Raises `VerificationError` if there is no list in it."""
    answer = _json(stdout, stderr, "member list")
    if not isinstance(answer, dict):
        raise _unreadable("member list", stdout, stderr)
    members = tuple(
        Member(
            id=_id(entry.get("ID")),
            name=str(entry.get("name") or ""),
            peer_urls=tuple(entry.get("peerURLs") or ()),
            client_urls=tuple(entry.get("clientURLs") or ()),
            learner=bool(entry.get("isLearner")),
        )
        for entry in answer.get("members") or ()
    )
    return MemberList(_id(_map(answer.get("header")).get("cluster_id")), members)


def parse_status(stdout: str, stderr: str = "") -> tuple[EndpointStatus, ...]:
    """Read ``etcdctl -w json endpoint status``: the endpoints that answered (see `unanswered` for the others).

    Raises `VerificationError` if etcdctl did not get as far as asking.
    """
    return tuple(_status(entry) for entry in _list(stdout, stderr, "endpoint status"))


def _status(entry: Mapping[str, Any]) -> EndpointStatus:
    status = _map(entry.get("Status"))
    header = _map(status.get("header"))
    job = _map(status.get("downgradeInfo"))
    return EndpointStatus(
        endpoint=str(entry.get("Endpoint") or ""),
        member_id=_id(header.get("member_id")),
        cluster_id=_id(header.get("cluster_id")),
        version=str(status.get("version") or ""),
        db_size=_number(status.get("dbSize")),
        db_size_in_use=_number(status.get("dbSizeInUse")),
        leader_id=_id(status.get("leader")),
        term=_number(status.get("raftTerm") or header.get("raft_term")),
        raft_index=_number(status.get("raftIndex")),
        raft_applied=_number(status.get("raftAppliedIndex")),
        revision=_number(header.get("revision")),
        learner=bool(status.get("isLearner")),
        errors=tuple(str(error) for error in status.get("errors") or ()),
        storage=str(status.get("storageVersion") or ""),
        going_back_to=minor_of(str(job.get("targetVersion") or "")) if job.get("enabled") else "",
    )


def parse_health(stdout: str, stderr: str = "") -> tuple[EndpointHealth, ...]:
    """Read ``etcdctl -w json endpoint health``, by endpoint. Raises `VerificationError` if there is none."""
    healths = (
        EndpointHealth(
            endpoint=str(entry.get("endpoint") or ""),
            healthy=entry.get("health") in (True, "true"),
            took=go_seconds(str(entry.get("took") or "")) or 0.0,
            error=str(entry.get("error") or ""),
        )
        for entry in _list(stdout, stderr, "endpoint health")
    )
    return tuple(sorted(healths, key=lambda health: health.endpoint))


def parse_hashkv(stdout: str, stderr: str = "") -> tuple[HashKV, ...]:
    """Read ``etcdctl -w json endpoint hashkv``: those that answered. Raises `VerificationError` as `parse_status`."""
    hashes = []
    for entry in _list(stdout, stderr, "endpoint hashkv"):
        answer = _map(entry.get("HashKV"))
        hashes.append(
            HashKV(
                endpoint=str(entry.get("Endpoint") or ""),
                hash=_number(answer.get("hash")),
                revision=_number(_map(answer.get("header")).get("revision")),
                compact_revision=_number(answer.get("compact_revision")),
            )
        )
    return tuple(hashes)


def parsed(parse: Callable[[str, str], Parsed], stdout: str, stderr: str) -> Parsed | None:
    """Return what a reader finds in an answer; None where it finds nothing, whatever the reason."""
    try:
        return parse(stdout, stderr)
    except VerificationError:
        return None


def by_host(answers: Iterable[Answer], endpoints: Mapping[str, str]) -> dict[str, Answer]:
    """Return the answers by host; ``endpoints`` has the URL that each host was asked under.

    The scheme does not matter: during the switch from plain to TLS clients a member is known under both.
    """
    hosts = {address(url): host for host, url in endpoints.items()}
    return {hosts[address(answer.endpoint)]: answer for answer in answers if address(answer.endpoint) in hosts}


def address(url: str) -> str:
    """Return host and port of a URL: what stays when its scheme changes."""
    return url.rpartition("://")[2].rstrip("/")


_FAILED = re.compile(r"^Failed to get the \w+ of endpoint (\S+) \((.*)\)\s*$", re.MULTILINE)
# The client's log line before it knows better than "context deadline exceeded" why.
_LOGGED_CAUSE = re.compile(r'\\"(transport: [^"\\]*(?:\\{1,3}"[^"\\]*)*)\\"')


def unanswered(stderr: str) -> Mapping[str, str]:
    """Return endpoint -> why, for the endpoints that ``endpoint status`` or ``endpoint hashkv`` got no answer from."""
    reasons: dict[str, str] = {}
    at = 0
    for failed in _FAILED.finditer(stderr):
        causes = _LOGGED_CAUSE.findall(stderr[at : failed.start()])
        reasons[failed[1]] = causes[-1].replace("\\", "") if causes else failed[2]
        at = failed.end()
    return reasons


def _json(stdout: str, stderr: str, command: str) -> Any:
    # Old clients print the answer of an unhealthy cluster to stderr, among log lines that are JSON objects themselves.
    candidates = [stdout, *(line for line in stderr.splitlines() if line.startswith('[{"'))]
    for text in candidates:
        try:
            return json.loads(text)
        except ValueError:
            continue
    raise _unreadable(command, stdout, stderr)


def _list(stdout: str, stderr: str, command: str) -> list[dict[str, Any]]:
    answer = _json(stdout, stderr, command)
    if answer is None:
        return []
    if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
        raise _unreadable(command, stdout, stderr)
    return answer


def _unreadable(command: str, stdout: str, stderr: str) -> VerificationError:
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("{")] or stdout.splitlines()
    words = lines[-1].strip()[:300] if lines else "nothing"
    return VerificationError(
        f"etcdctl {command} gave no answer: {words}",
        remedy="see etcd's log on the member that was asked; without a quorum no member can answer",
    )


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float | str) and str(value).lstrip("-").isdigit() else 0


def _id(value: Any) -> int:
    if isinstance(value, str):  # --hex
        return int(value, 16) if re.fullmatch(r"[0-9a-fA-F]+", value) else 0
    return _number(value)
