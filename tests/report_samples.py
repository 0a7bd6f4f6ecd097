"""Reports as real runs leave them, made up so that each shows something: failures, diffs, many hosts, hostile texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from etcdfleet.report.record.model import (
    Failure,
    HostRecord,
    Notice,
    Protection,
    RunRecord,
    Status,
    Step,
    StepRecord,
)

STARTED = datetime(2026, 11, 23, 17, 3, 55, tzinfo=UTC)
STEPS = tuple(
    Step(name, title)
    for name, title in (
        ("preflight", "Preflight"),
        ("install", "Install"),
        ("trust", "Trust"),
        ("certificates", "Certificates"),
        ("configure", "Configure"),
        ("start", "Start"),
        ("auth", "Roles and users"),
        ("verify", "Verify"),
    )
)
HOME = {"etcd-az-1": "10.240.1.2", "etcd-az-2": "10.240.1.3", "etcd-az-3": "10.240.1.4"}
EDGE = {"k3s-m-1": "10.241.7.11", "k3s-m-2": "10.241.7.12", "k3s-m-3": "10.241.7.13"}
DIFF = """\
--- /etc/etcd/conf.yml (host)
+++ /etc/etcd/conf.yml (wanted)
@@ -18,9 +18,9 @@
 # Milliseconds; the same on all members.
-heartbeat-interval: 100
-election-timeout: 1000
+heartbeat-interval: 500
+election-timeout: 5000

 snapshot-count: 10000
 initial-cluster: "etcd-az-1=https://etcd.az1.k8s.home:2380,etcd-az-2=https://etcd.az2.k8s.home:2380,etcd-az-3=https://etcd.az3.k8s.home:2380"
--- /etc/systemd/system/etcd.service (host)
+++ /etc/systemd/system/etcd.service (wanted)
@@ -0,0 +1,3 @@
+[Service]
+Type=notify
+ExecStart=/usr/bin/etcd --config-file=/etc/etcd/conf.yml
"""
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> \"'&amp; {{ 7*7 }}"


def failed_deploy() -> dict[str, Any]:
    """Two clusters: one host cannot be reached, one fails to start, one cluster is protected, files differ."""
    hosts = _hosts(HOME, "k8s-home") | _hosts(EDGE, "k3s-edge")
    clock = 0.3
    for number, host in enumerate(hosts.values()):
        _done(
            host, "preflight", clock, 1.4 + number / 10, summary="Debian GNU/Linux 12, amd64, a synced write takes 5 ms"
        )
        _done(host, "install", 2.2, 9 + number, ["apt: etcd-server 3.4.23 is installed"], "etcd 3.4.23 by apt")
        _done(host, "trust", 20, 0, summary="no new CA", status=Status.SKIPPED)
        placed = ["peer certificate is placed: there is no certificate yet", "/etc/etcd/certs/peerCA.pem is placed"]
        _done(host, "certificates", 20.5, 3 + number / 4, placed, "3 good, 89 days left")
        changed = ["/etc/etcd/conf.yml is replaced", "etcd is enabled at boot"]
        _done(host, "configure", 26, 0.4, changed, "2 of 4 files differ", diff=DIFF)
        _done(host, "start", 27 + 4 * (number % 3), 3.6, ["etcd is started"], "started, healthy")
        _done(
            host, "auth", None, 0, summary="the inventory has no section auth for this cluster", status=Status.SKIPPED
        )
        _done(host, "verify", 40, 1.5, summary="18 checks passed")
        host.facts.update(_facts(number, days=(89.6, 89.6, 12.2) if number == 1 else (89.6, 89.6, 89.6)))
    lost = hosts["k3s-m-2"]
    lost.facts.clear()
    _done(
        lost,
        "preflight",
        0.3,
        31.2,
        error=Failure(
            "RemoteError",
            "no answer to SSH within 30 s",
            "k3s-m-2 (10.241.7.12:22)",
            "is it powered on and on the network? try\n    ssh -v root@10.241.7.12\nthen run the same command again",
        ),
    )
    _skip_after(lost, "preflight")
    sick = hosts["etcd-az-3"]
    log = "\n".join(
        f'    {{"level":"warn","ts":"2026-11-23T17:04:3{i}.102Z","msg":"rejected '
        'connection","error":"tls: failed to verify certificate: x509: certificate specifies an incompatible key '
        'usage"}'
        for i in range(3)
    )
    _done(
        sick,
        "start",
        35,
        31,
        error=Failure(
            "VerificationError",
            f"etcd runs, but is not healthy after 30 s; its log says:\n{log}",
            "etcd-az-3, etcd.service",
            "the peer certificate lacks the usage TLS Web Client Authentication: have the role issue both, then\n"
            "    python3 runbooks/deploy.py --limit etcd-az-3",
        ),
    )
    _skip_after(sick, "start")
    sick.facts["checks"] = [
        {"check": "service", "ok": True, "evidence": "running, enabled at boot"},
        {
            "check": "certificate served on 2380",
            "ok": False,
            "evidence": "no handshake: bad certificate",
            "cause": "incompatible key usage",
            "remedy": "have the Vault role issue both usages",
        },
    ]
    record = _record("deploy", STEPS, hosts, 71.4, options={"config": "config.yaml", "diff": True})
    record.warnings = [
        Notice(
            "etcd-az-1", "the clock is 1.8 s away from the controller's; certificates are judged by the host's clock"
        ),
        Notice(
            "etcd-az-2", "the clock is 1.8 s away from the controller's; certificates are judged by the host's clock"
        ),
    ]
    record.protections = [
        Protection(
            "k3s-edge",
            "1 of 3 members answers too slowly to take another one down: etcd would lose its quorum",
            "k3s-m-1",
            "wait until all members are healthy (python3 runbooks/status.py --cluster k3s-edge), then run it again",
        )
    ]
    return finished(record)


def check_run() -> dict[str, Any]:
    """A deploy with --check: one file would change."""
    hosts = _hosts(HOME, "k8s-home")
    for number, host in enumerate(hosts.values()):
        for position, step in enumerate(STEPS[:-1]):
            _done(host, step.name, 0.3 + position, 0.3)
        _done(
            host,
            "configure",
            5,
            0.2,
            ["/etc/etcd/conf.yml is replaced"] if number == 0 else [],
            diff=DIFF if number == 0 else "",
        )
        _done(host, "verify", None, 0, summary="not needed in this run", status=Status.SKIPPED)
        host.facts.update(_facts(number, days=(300, 300, 300)))
    return finished(_record("deploy", STEPS, hosts, 8.2, check=True))


def rotation() -> dict[str, Any]:
    """A rotation, one host after the other; certificates that ended, end soon, and far away."""
    names = ("decide", "trust", "rotate", "start", "verify")
    steps = tuple(Step(name, name.title()) for name in names)
    hosts = _hosts(HOME, "k8s-home", names) | _hosts(EDGE, "k3s-edge", names)
    for number, host in enumerate(hosts.values()):
        _done(host, "decide", 0.4, 0.8, summary="peer is due")
        _done(host, "trust", None, 0, summary="no new CA", status=Status.SKIPPED)
        _done(host, "rotate", 2 + 6.5 * (number % 3), 6.1, ["peer certificate is replaced"])
        _done(host, "start", None, 0, summary="not needed in this run", status=Status.SKIPPED)
        _done(host, "verify", 23, 1.2, summary="18 checks passed")
        host.facts.update(_facts(number, days=((-0.4, 1824, 1824), (6.8, 45, 45), (89, 90, 200))[number % 3]))
        host.facts["decisions"] = ["peer: due, 6 days left of 90", "server: good until 2027-02-21, due on 2027-01-22"]
    return finished(_record("rotate_certs", steps, hosts, 25.0))


def many_hosts(clusters: int = 40) -> dict[str, Any]:
    """Three hosts in each of many clusters, with names as long as names get."""
    hosts: dict[str, HostRecord] = {}
    for cluster in range(clusters):
        named = {f"edge-{cluster:03d}-raspberrypi-{n}.branch-office.example.net": "192.0.2.9" for n in range(3)}
        hosts |= _hosts(named, f"edge-{cluster:03d}")
    for number, host in enumerate(hosts.values()):
        for position, step in enumerate(STEPS):
            _done(host, step.name, position * 20 + number / 10, 0.3 + number / 20)
        host.facts.update(_facts(number, days=(60 + number, 60 + number, 60 + number)))
    return finished(_record("deploy", STEPS, hosts, 160.0))


def hostile() -> dict[str, Any]:
    """Every text that a host, an inventory or a server may have had a say in tries to be more than text."""
    name = f"h{HOSTILE}"
    host = _hosts({name: HOSTILE}, HOSTILE, ("preflight", HOSTILE))[name]
    long = "x" * 400
    _done(
        host, "preflight", 0.1, 0.5, [HOSTILE, long], HOSTILE, diff=f"--- {HOSTILE}\n+++ {HOSTILE}\n+{HOSTILE}{long}\n"
    )
    host.steps["preflight"].warnings = (HOSTILE,)
    _done(host, HOSTILE, 1, 1, error=Failure(HOSTILE, HOSTILE, HOSTILE + long, HOSTILE + long, expected=False))
    host.facts.update(
        {HOSTILE: HOSTILE, "version": HOSTILE, "checks": [{"check": HOSTILE, "ok": False, "evidence": long}]}
    )
    record = _record(HOSTILE, (Step("preflight", HOSTILE),), {name: host}, 3.0, options={HOSTILE: HOSTILE})
    record.by, record.tool_version = HOSTILE, HOSTILE
    record.warnings = [Notice(HOSTILE, HOSTILE + long)]
    record.protections = [Protection(HOSTILE, HOSTILE, HOSTILE, HOSTILE)]
    return finished(record)


def finished(record: RunRecord) -> dict[str, Any]:
    """The document of a record whose run ended when its seconds were over."""
    record.finished = record.started + timedelta(seconds=record.seconds)
    document: dict[str, Any] = json.loads(json.dumps(record.as_json()))
    return document


def _record(name: str, steps: Sequence[Step], hosts: dict[str, HostRecord], seconds: float, **more: Any) -> RunRecord:
    return RunRecord(name, "0.1.0", tuple(steps), hosts, STARTED, seconds=seconds, by="ana@desk", **more)


def _hosts(addresses: Mapping[str, str], cluster: str, steps: Sequence[str] | None = None) -> dict[str, HostRecord]:
    names = steps or [step.name for step in STEPS]
    return {
        name: HostRecord(name, cluster, address, steps={step: StepRecord(step) for step in names})
        for name, address in addresses.items()
    }


def _done(
    host: HostRecord,
    step: str,
    offset: float | None,
    seconds: float,
    changes: Sequence[str] = (),
    summary: str = "",
    *,
    status: Status | None = None,
    diff: str = "",
    error: Failure | None = None,
) -> None:
    found = status or (Status.FAILED if error else Status.CHANGED if changes else Status.OK)
    said = error.what.splitlines()[0] if error else summary
    host.steps[step] = StepRecord(step, found, offset, seconds, said, tuple(changes), (), diff, error)


def _skip_after(host: HostRecord, step: str) -> None:
    names = list(host.steps)
    for name in names[names.index(step) + 1 :]:
        _done(host, name, None, 0, summary=f"{step} failed", status=Status.SKIPPED)


def _facts(number: int, days: Sequence[float]) -> dict[str, Any]:
    ends = {role: STARTED + timedelta(days=left) for role, left in zip(("peer", "server", "client"), days, strict=True)}
    return {
        "version": "3.4.23",
        "member_id": f"{0xD2B3103FA7F872EB + number:x}",
        "cluster_id": "99b4b1996f188334",
        "leader": number % 3 == 0,
        "db_size_bytes": 20480 + 4096 * number,
        "revision": 118 + number // 3,
        "raft_term": 2,
        "distribution": "Debian GNU/Linux 12 (bookworm)",
        "architecture": "armhf" if number == 2 else "amd64",
        "clock_offset_seconds": 0.1 * number,
        "ssh_round_trips": 19,
        "certificates": {
            role: {
                "serial": ":".join(f"{(number * 41 + index * 97 + ord(role[0])) % 256:02x}" for index in range(20)),
                "not_after": end.isoformat(),
                "days_left": (end - STARTED).days,
            }
            for role, end in ends.items()
        },
        "checks": [
            {"check": "member list", "ok": True, "evidence": "3 members as in the inventory, all started, no learner"},
            {"check": "equal data", "ok": True, "evidence": "hash 40a4756d on all 3 members"},
            {"check": "plain http refused on 2379", "ok": True, "evidence": "refused"},
        ],
    }
