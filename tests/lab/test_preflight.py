"""``preflight.py`` on clusters that run: what it measures, and that it asks before it burdens a member's disk."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from lab.state import PROJECT
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


@pytest.mark.thorough(
    "lab/test_failures.py::test_port_taken",
    "lab/test_verify.py::test_faults_of_hosts_are_named_with_cause_and_remedy",
)
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


def project_with(folder: Path, more: str) -> Path:
    """A copy of this project, with lines of its owner's at the end of the template of etcd's configuration."""
    for name in ("etcdfleet", "tasks", "plays", "runbooks", "templates"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "templates/conf.yml.j2").open("a") as template:
        template.write(more)
    return folder


@pytest.mark.thorough(
    "unit/tasks/test_preflight.py::test_what_etcd_makes_of_the_configuration",
    "unit/etcd/test_config_lint.py::test_what_each_minor_makes_of_a_key",
    "unit/etcd/test_config_lint.py::test_what_the_releases_of_distributions_make_of_a_key",
    "unit/tasks/test_config_lint.py::test_what_etcd_refuses_is_an_error_with_its_remedies",
)
def test_a_template_of_one_s_own_is_compared_with_what_each_etcd_reads(sight: LabHandle, tmp_path: Path) -> None:
    """3.4.23 on Debian and 3.5.1 on Alpine, each by its own rules; and what it says of a value, etcd says, too."""
    started = start_times(sight)
    there = {host.name: output(sight, host.name, "md5sum /etc/etcd/conf.yml") for host in sight.plan.hosts}
    ignored = "quota-backend-byte: 1\nmax-concurrent-streams: 64\nlog-package-levels: etcdserver=DEBUG\n"
    project, alone = project_with(tmp_path / "ignored", ignored), {"PYTHONPATH": None}
    outcome = deploy(sight, runbook="preflight", timeout=120, project=project, env=alone)
    assert outcome.exit_code == 0, outcome.text
    for host, said in (
        ("s-sd-1", {"quota-backend-bytes": True, "max-concurrent-streams": False, "log-package-levels": True}),
        ("s-rc-1", {"quota-backend-bytes": True, "max-concurrent-streams": True, "log-package-levels": True}),
    ):
        told = [warning for warning in outcome.report["warnings"] if host in warning["place"]]
        warnings = [warning["text"] for warning in told if "conf.yml.j2" in warning["text"]]
        assert {key: any(key in text for text in warnings) for key in said} == said, warnings
    assert "etcd 3.5.1 ignores max-concurrent-streams without a word" in outcome.in_one_line
    refused = project_with(tmp_path / "refused", "logger: capnslog\n")
    outcome = deploy(sight, "--cluster", "s-rc", "--yes", project=refused, env=alone)
    assert outcome.exit_code == 1, outcome.text
    assert "etcd 3.5.1 does not start with logger" in outcome.error("s-rc-1")
    own = "/etc/etcd/conf.yml >/tmp/own.yml; echo 'logger: capnslog' >>/tmp/own.yml"
    tried = on_host(
        sight, "s-rc-1", f"sed /^logger:/d {own}; timeout 9 etcd --config-file /tmp/own.yml 2>&1; rm /tmp/own.yml"
    )
    assert "logger=capnslog is removed" in tried.stdout, tried.stdout
    assert start_times(sight) == started
    assert there == {host.name: output(sight, host.name, "md5sum /etc/etcd/conf.yml") for host in sight.plan.hosts}
