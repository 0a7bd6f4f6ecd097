"""``verify.py`` and ``preflight.py`` on clusters that are sound, and broken in ways that must be said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from lab import faketime
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    Outcome,
    all_endpoints,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    start_times,
    unhealthy,
    wait_for,
)

# Nothing there needs Vault: a wrong address would be noticed.
NO_VAULT: Mapping[str, str | None] = {"VAULT_TOKEN": None, "VAULT_ADDR": "https://127.0.0.1:1"}
CLUSTERS = ("s-sd", "s-rc")
CONF = "/etc/etcd/conf.yml"


def verify(sight: LabHandle, *args: str) -> Outcome:
    return deploy(sight, *args, runbook="verify", env=NO_VAULT, timeout=180)


def checks(outcome: Outcome, host: str) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in outcome.host(host)["facts"]["checks"]}


def failed(outcome: Outcome, host: str) -> set[str]:
    return {name for name, check in checks(outcome, host).items() if check["status"] == "failed"}


def revision(sight: LabHandle, cluster: str) -> int:
    done = etcdctl(sight, members(sight, cluster)[0], "get nothing -w json")
    return int(json.loads(done.stdout)["header"]["revision"])


def assert_no_trace(sight: LabHandle, cluster: str) -> None:
    """Nothing of the probe is left: no key, no lease."""
    host = members(sight, cluster)[0]
    done = etcdctl(sight, host, "get --prefix /etcdfleet/ --keys-only")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    assert etcdctl(sight, host, "lease list").stdout.strip() == "found 0 leases"


def leader(sight: LabHandle, cluster: str) -> str:
    where = all_endpoints(sight, cluster)
    for status in json.loads(
        etcdctl(sight, members(sight, cluster)[0], "endpoint status -w json", endpoints=where).stdout
    ):
        if status["Status"]["leader"] == status["Status"]["header"]["member_id"]:
            return next(h for h in members(sight, cluster) if sight.plan.host(h).fqdn in status["Endpoint"])
    raise AssertionError(f"{cluster} has no leader")


@contextmanager
def broken(sight: LabHandle, host: str, do: str, undo: str) -> Iterator[None]:
    output(sight, host, do)
    try:
        yield
    finally:
        output(sight, host, undo)


def test_healthy(sight: LabHandle) -> None:
    before, started = {c: revision(sight, c) for c in CLUSTERS}, start_times(sight)
    outcome = verify(sight, "--verbose")
    assert outcome.exit_code == 0, outcome.text
    for cluster in CLUSTERS:
        for host in members(sight, cluster):
            found = checks(outcome, host)
            assert failed(outcome, host) == set(), outcome.text
            # etcd 3.4 would write into its raft log for each question (see test_versions.py).
            assert found["/health"]["status"] == ("ok" if cluster == "s-rc" else "skipped"), found["/health"]
            for name in (
                "equal data",
                "write, read, delete",
                "2380 refuses client certificate",
                f"file {CONF}",
            ):
                assert found[name]["status"] == "ok", found[name]
            assert all(check["evidence"] for check in found.values()), found
            assert outcome.host(host)["facts"]["member_id"]
        assert "2379 serves client certificate: answered HTTP 200" in outcome.stdout
        # One write and one deletion through each member.
        assert revision(sight, cluster) == before[cluster] + 6
        assert_no_trace(sight, cluster)
    assert start_times(sight) == started
    for argument in ("--no-write", "--check"):
        outcome = verify(sight, argument, "--limit", "s-sd-1")
        assert outcome.exit_code == 0, outcome.text
        assert checks(outcome, "s-sd-1")["write, read, delete"]["status"] == "skipped"
        assert {c: revision(sight, c) for c in CLUSTERS} == {c: before[c] + 6 for c in CLUSTERS}


# Each with: the host, how it is broken, how it is mended (empty: by deploy), the check that fails, and words for it.
FAULTS = [
    (
        "s-sd-1",
        "chmod 0644 /etc/etcd/certs/etcdctl/*.key",
        "",
        "private keys are private",
        ("is 0644 etcd: everybody can use it", "run deploy"),
    ),
    ("s-sd-2", f"echo '# mine' >> {CONF}", "", f"file {CONF}", ("- # mine", "changed by hand", "run deploy")),
    ("s-sd-3", "systemctl disable etcd", "", "service", ("not enabled at boot", "run deploy")),
    (
        "s-rc-2",
        f"sed -i 's/^enable-grpc-gateway: false/enable-grpc-gateway: true/' {CONF}; rc-service etcd restart",
        f"sed -i 's/^enable-grpc-gateway: true/enable-grpc-gateway: false/' {CONF}; rc-service etcd restart",
        "log: incompatible key usage",
        ("gateway", "set cluster.gateway to false"),
    ),
    (
        "s-rc-3",
        "chmod 0755 /var/lib/etcd",
        "chmod 0700 /var/lib/etcd",
        "data directory",
        ("is 755 etcd, not 700 etcd", "chmod 0700 /var/lib/etcd"),
    ),
]


@pytest.fixture
def faulty(sight: LabHandle) -> Iterator[LabHandle]:
    """One fault on each host."""
    try:
        for host, do, *_ in FAULTS:
            output(sight, host, do)
        faketime.set(sight.plan, sight.plan.host("s-rc-1"), "+90s")
        wait_for("s-rc is whole", lambda: unhealthy(sight, "s-rc") == "")
        yield sight
    finally:
        faketime.clear(sight.plan, sight.plan.host("s-rc-1"))
        for host, _, undo, *_ in FAULTS:
            if undo:
                output(sight, host, undo)
        wait_for("s-rc is whole", lambda: unhealthy(sight, "s-rc") == "")


def test_faults_of_hosts_are_named_with_cause_and_remedy(faulty: LabHandle) -> None:
    outcome = verify(faulty, "--diff")
    assert outcome.exit_code == 1, outcome.text
    for host, _, _, check, words in FAULTS:
        found = checks(outcome, host)[check]
        assert found["status"] == "failed", found
        assert found["cause"], found
        assert found["remedy"], found
        told = " ".join(str(found[key]) for key in ("evidence", "cause", "remedy"))
        assert all(word in told for word in words), found
        assert f"FAILED  {check}  ({host})" in outcome.stdout
    assert failed(outcome, "s-rc-1") == {"clock"}
    assert "ahead of the controller's" in checks(outcome, "s-rc-1")["clock"]["evidence"]
    assert "-# mine" in outcome.stdout
    # What one member has is not held against the others.
    assert failed(outcome, "s-sd-3") == {"service"}
    # The preflight cares for the clock alone.
    looked = deploy(faulty, runbook="preflight", timeout=120)
    assert (looked.exit_code, looked.failed) == (1, ["s-rc-1"]), looked.text
    assert "ahead of the controller's" in looked.error("s-rc-1")
    # deploy is the remedy, as was said.
    mended = deploy(faulty, "--cluster", "s-sd", timeout=180)
    assert mended.exit_code == 0, mended.text
    again = verify(faulty, "--cluster", "s-sd")
    assert again.exit_code == 0, again.text


@pytest.mark.thorough(
    "unit/checks/test_cluster_deep.py::test_one_that_is_silent_is_one_finding",
    "unit/checks/test_cluster_deep.py::test_without_a_quorum",
    "unit/checks/test_cluster_deep.py::test_a_leader_that_is_silent_is_asked_about_again",
    "unit/tasks/verify/test_member.py::test_in_depth_what_follows_from_a_lost_quorum_names_it_as_its_cause",
    "unit/tasks/verify/test_member.py::test_in_depth_a_host_that_ssh_does_not_reach",
    "lab/test_damage.py::test_two_of_three_have_lost_everything_while_the_third_is_off",
    "lab/test_status.py::test_a_host_without_power_and_the_leader_killed",
)
def test_the_leader_has_just_been_lost_and_then_the_quorum(sight: LabHandle) -> None:
    lost = leader(sight, "s-rc")
    others = [host for host in members(sight, "s-rc") if host != lost]
    sight.stop(lost)
    try:
        outcome = verify(sight, "--cluster", "s-rc")
        looked = deploy(sight, "--cluster", "s-rc", runbook="preflight", timeout=120)
        sight.stop(others[0])
        alone = verify(sight, "--limit", others[1])
    finally:
        for host in (lost, others[0]):
            sight.start(host)
        wait_for("s-rc is whole", lambda: unhealthy(sight, "s-rc") == "", timeout=120)
    assert outcome.exit_code == 1, outcome.text
    assert "the host is off, or cut off" in checks(outcome, lost)["ssh"]["cause"]
    for host in others:
        found = checks(outcome, host)
        assert failed(outcome, host) == {"members answer"}, outcome.text
        assert "2 of 3 answer: if one more is lost" in found["members answer"]["evidence"]
        assert lost in found["members answer"]["evidence"]
        # An election that was still under way was waited out: there is a leader, and it is another one.
        assert found["one leader"]["evidence"] in {f"all follow {other}" for other in others}
        assert f"silent: {lost}" in found["write, read, delete"]["evidence"]
    assert (looked.exit_code, looked.failed) == (1, [lost]), looked.text
    assert alone.exit_code == 1, alone.text
    assert {"members answer", "one leader", "write, read, delete"} <= failed(alone, others[1]), alone.text
    found = checks(alone, others[1])
    assert "1 of 3 answer, 2 are needed: the cluster takes no writes" in found["members answer"]["evidence"]
    assert "'members answer'" in found["write, read, delete"]["cause"], "it follows from that"
    assert_no_trace(sight, "s-rc")


@pytest.mark.thorough(
    "lab/test_nospace.py::test_a_full_database_is_said_with_its_ways_out",
    "unit/checks/test_cluster_deep.py::test_a_probe_that_fails_says_where",
    "unit/remote/test_scripts_run.py::test_the_write_probe_ends_where_nothing_can_be_written",
    "unit/checks/test_knocks.py::test_health",
)
def test_database_at_its_quota(sight: LabHandle) -> None:
    """One member has a quota that its database exceeds: the first write through it raises the alarm for all."""
    host, sed = "s-rc-3", "sed -i 's/^quota-backend-bytes: .*/quota-backend-bytes: {}/' " + CONF
    before = output(sight, host, f"sed -n 's/^quota-backend-bytes: //p' {CONF}").strip()
    restart = "rc-service etcd restart"
    with broken(sight, host, f"{sed.format(9000)}; {restart}", f"{sed.format(before)}; {restart}"):
        wait_for("s-rc is whole", lambda: unhealthy(sight, "s-rc") == "")
        assert etcdctl(sight, host, "put /full yes").returncode != 0
        outcome = verify(sight, "--cluster", "s-rc")
    wait_for("the alarm is off", lambda: etcdctl(sight, host, "alarm disarm").returncode == 0)
    wait_for("s-rc is whole", lambda: unhealthy(sight, "s-rc") == "")
    assert outcome.exit_code == 1, outcome.text
    for name in members(sight, "s-rc"):
        found = checks(outcome, name)
        assert "NOSPACE" in found["alarms"]["evidence"], found
        assert "make room: python runbooks/repair.py" in found["alarms"]["remedy"]
        assert "NOSPACE" in found["/health"]["evidence"], found["/health"]
        assert "space exceeded" in found["write, read, delete"]["evidence"]
        assert "quota" in found["write, read, delete"]["cause"]
    assert "FAILED  alarms  (s-rc-1, s-rc-2, s-rc-3)" in outcome.stdout
    assert_no_trace(sight, "s-rc")


@pytest.mark.thorough(
    "unit/checks/test_tls.py::test_life",
    "lab/test_status.py::test_a_certificate_near_its_end_a_drifted_file_and_a_wrong_clock",
)
def test_a_certificate_with_three_days_left(sight: LabHandle, tmp_path: Any) -> None:
    """A warning, no failure; and etcd works on."""

    def short(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"]["s-sd"]["data"]["pki"]["roles"]["client"]["ttl"] = "72h"

    new = ("--force", "--only", "client", "--limit", "s-sd-3")
    config = inventory_variant(sight, tmp_path, short)
    made = deploy(sight, *new, config=config, runbook="rotate_certs")
    assert made.exit_code == 0, made.text
    try:
        outcome = verify(sight, "--limit", "s-sd-3")
    finally:
        made = deploy(sight, *new, runbook="rotate_certs")
        assert made.exit_code == 0, made.text
    assert outcome.exit_code == 0, outcome.text
    found = checks(outcome, "s-sd-3")["client certificate: life"]
    assert found["status"] == "warning", found
    assert "2 days left" in found["evidence"] or "3 days left" in found["evidence"]
    assert "rotate_certs" in found["remedy"]
    assert "client certificate: life" in outcome.stdout
    assert checks(outcome, "s-sd-3")["peer certificate: life"]["status"] == "ok"


def test_quiet_tells_what_is_wrong_all_the_same(sight: LabHandle) -> None:
    with broken(sight, "s-sd-1", "chmod 0755 /var/lib/etcd", "chmod 0700 /var/lib/etcd"):
        outcome = verify(sight, "--quiet", "--limit", "s-sd-1", "--no-write")
        assert outcome.exit_code == 1
        assert "data directory" in outcome.stderr
        assert "chmod 0700" in outcome.stderr
    assert on_host(sight, "s-sd-1", "ls -d /run/etcdfleet.*").returncode != 0
