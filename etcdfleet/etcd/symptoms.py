"""Known lines of etcd's log, and what they mean to the person who has to do something about them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Symptom:
    """A pattern in etcd's log, what it means, and the remedy."""

    pattern: str
    meaning: str
    remedy: str


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        r"has already been bootstrapped",
        "the cluster remembers this member, and its data is gone",
        "remove the member from the cluster and add it anew (etcdctl member remove, member add)",
    ),
    Symptom(
        r"incompatible key usage",
        "a certificate is used for what it was not issued for (etcd's gRPC gateway is a client with the server's one)",
        "set cluster.gateway to false, or let the role `server` issue certificates with ClientAuth too",
    ),
    Symptom(
        r"certificate has expired or is not yet valid",
        "a certificate is expired, or a clock is wrong",
        "compare the clocks of the hosts, then run deploy or rotate_certs",
    ),
    Symptom(
        r"does not match any of DNSNames",
        "a peer connects from an address that is not in its certificate (address translation, a wrong member.address)",
        "correct member.address, or take the address translation between the members away",
    ),
    Symptom(
        r"expected IP in URL for binding",
        "a listen URL holds a name",
        "member.address must be an IP address",
    ),
    Symptom(
        r"bind: cannot assign requested address",
        "the member's address is not one of this host",
        "correct member.address in the inventory (ip address on the host)",
    ),
    Symptom(r"bind: address already in use", "another program has the port", "stop it, or choose another port"),
    Symptom(r"no space left on device", "the disk is full", "free some space on the host (df -h), then run again"),
    Symptom(
        r"unsupported architecture|running etcd on unsupported architecture since ETCD_UNSUPPORTED_ARCH",
        "etcd wants ETCD_UNSUPPORTED_ARCH on this architecture",
        "correct platform.architecture in the inventory",
    ),
    Symptom(
        r"should be at least .* times of heartbeat|election-timeout.*heartbeat",
        "the election time-out is too short for the heartbeat",
        "election_ms must be at least five times heartbeat_ms",
    ),
    Symptom(
        r"request cluster ID mismatch|cluster ID mismatch",
        "this member belongs to another cluster than its peers (another token, or old data)",
        "compare cluster.token and the data directories of the members; deploy never deletes data",
    ),
    Symptom(
        r"tls: bad certificate|unknown certificate authority|certificate signed by unknown authority",
        "a peer's certificate is not accepted",
        "compare the certificates and the trust anchor on the hosts, and their clocks; then run deploy again",
    ),
    Symptom(
        r"permission denied",
        "etcd may not read or write one of its files",
        "look at owner and mode of the data directory and of /etc/etcd/certs (etcd, 0700)",
    ),
)


def explain(log: str) -> Symptom | None:
    """The first known symptom in a log, or ``None``. The order of `SYMPTOMS` goes from the special to the general."""
    return next((symptom for symptom in SYMPTOMS if re.search(symptom.pattern, log, re.IGNORECASE)), None)


_STACK = re.compile(r"^(\s+\S+\.(go|s):\d+|goroutine \d+ \[|created by |[\w./*()%-]+\([^)]*\)\s*$)")


def without_stacks(log: str) -> str:
    """The log without Go's stack traces: what a person needs is the line before them, which says why etcd ended."""
    return "\n".join(line for line in log.splitlines() if not _STACK.match(line))
