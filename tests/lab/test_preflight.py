"""``preflight.py`` on clusters that run: what it measures, and that it asks before it burdens a member's disk."""

from __future__ import annotations

import itertools

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import deploy, on_host, output, start_times, wait_for


def test_healthy(sight: LabHandle) -> None:
    started = start_times(sight)
    outcome = deploy(sight, runbook="preflight", timeout=120)
    assert outcome.exit_code == 0, outcome.text
    for host in sight.plan.hosts:
        facts = outcome.host(host.name)["facts"]
        assert "sync_p99_ms" not in facts
        assert any("--disk measures it" in sentence for sentence in facts["advice"]), facts
    # busybox has ping, a small Debian has none; both are said.
    assert 0 < min(outcome.host("s-rc-1")["facts"]["round_trip_ms"].values()) < 1000
    assert "fits heartbeat_ms 500" in outcome.stdout
    assert "there is no ping on the host" in outcome.stdout
    assert start_times(sight) == started


def test_disk_is_measured_when_that_was_answered_with_yes(sight: LabHandle) -> None:
    refused = deploy(sight, "--disk", runbook="preflight", timeout=120)
    assert refused.exit_code == 2, refused.text
    assert "--yes" in refused.stdout
    assert not any("sync_p99_ms" in host["facts"] for host in refused.report["hosts"].values())
    outcome = deploy(sight, "--disk", "--yes", runbook="preflight", timeout=120)
    assert outcome.exit_code == 0, outcome.text
    for host in sight.plan.hosts:
        facts = outcome.host(host.name)["facts"]
        assert 0 < facts["sync_p50_ms"] <= facts["sync_p99_ms"], facts
        assert any(sentence.startswith("disk: a synced write takes") for sentence in facts["advice"])
        assert output(sight, host.name, "ls -A /var/lib/etcd").split() == ["member"]
    # One member of a cluster after the other.
    for cluster in ("s-sd", "s-rc"):
        steps = [outcome.step(host.name, "advice") for host in sight.plan.hosts if host.cluster == cluster]
        spans = sorted((s["started_offset"], s["started_offset"] + s["seconds"]) for s in steps)
        assert all(end <= begin + 0.05 for (_, end), (begin, _) in itertools.pairwise(spans)), spans


def test_a_port_that_somebody_else_has(sight: LabHandle) -> None:
    """What deploy would refuse, said alone."""
    listens = "netstat -ltn | grep -q :2379"
    output(sight, "s-rc-1", "rc-service etcd stop; nc -lk -p 2379 >/dev/null 2>&1 </dev/null &")
    wait_for("nc listens", lambda: on_host(sight, "s-rc-1", listens).returncode == 0)
    try:
        outcome = deploy(sight, "--limit", "s-rc-1", runbook="preflight", timeout=120)
    finally:
        on_host(sight, "s-rc-1", "pkill -x nc")
        wait_for("nc is gone", lambda: on_host(sight, "s-rc-1", listens).returncode != 0)
        on_host(sight, "s-rc-1", "rc-service etcd start")
    assert outcome.exit_code == 1, outcome.text
    assert "port 2379 is taken by" in outcome.error("s-rc-1")
    assert outcome.step("s-rc-1", "advice")["status"] == "skipped"
