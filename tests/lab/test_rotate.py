"""Certificates renewed on live clusters that are used all the time; and what happens when something is wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import lab.vault
from etcdfleet.drivers.init import Service
from etcdfleet.drivers.init.openrc import OpenRC
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.host.paths import RESTART_PENDING
from lab import pki
from tests.lab.ca_changes import new_issuing_ca
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    begin_deploy,
    deploy,
    inventory_variant,
    members,
    on_host,
    output,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import protection
from tests.lab.load import client_pair, etcdctl_outside, missing, under_load, unseen
from tests.lab.outside import of_certificate
from tests.lab.rotate_helpers import RUNBOOK, reach, rotate, rotating, serials, served, standing_still
from tests.lab.watch import watching

CLUSTERS = ("t-sd", "t-rc")


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_nothing_is_due",
    "unit/certs/test_rotation.py::test_nothing_is_due",
    "unit/certs/test_rotation.py::test_the_table_says_what_why_and_when",
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
)
def test_nothing_is_due(clusters: LabHandle) -> None:
    before = {cluster: serials(clusters, cluster) for cluster in CLUSTERS}
    outcome = rotate(clusters)
    assert (outcome.exit_code, set(outcome.changed.values())) == (0, {0}), outcome.text
    assert {cluster: serials(clusters, cluster) for cluster in CLUSTERS} == before
    said = json.dumps(outcome.report)
    assert "peer: good until" in said
    assert "due from" in said


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_check_replaces_and_verifies_nothing_by_itself",
    "unit/tasks/certificates/test_rotate.py::test_check_obtains_nothing",
    "unit/tasks/certificates/test_rotate.py::test_what_is_due",
    "unit/certs/test_rotation.py::test_what_the_user_asked_for_comes_on_top",
)
def test_check_says_what_would_be_done_and_does_nothing(clusters: LabHandle) -> None:
    before = serials(clusters, "t-rc")
    outcome = rotate(clusters, "--check", "--force", "--only", "server", "--cluster", "t-rc")
    assert outcome.exit_code == 0, outcome.text
    assert set(outcome.changed.values()) == {1}
    rows = [line.split(maxsplit=6) for line in outcome.stdout.splitlines()]
    said = {(row[0], row[1]): row[6] for row in rows if len(row) == 7 and row[1] in ("peer", "server", "client")}
    for host in members(clusters, "t-rc"):
        assert said[host, "server"] == "replace: a new key was asked for (--force)"
        assert said[host, "peer"].startswith("keep, due from 20")
    assert serials(clusters, "t-rc") == before


def test_all_leaves_under_load(clusters: LabHandle, tmp_path: Path) -> None:
    before = {cluster: serials(clusters, cluster) for cluster in CLUSTERS}
    running = start_times(clusters)
    with ExitStack() as stack:
        pairs = {cluster: client_pair(clusters, tmp_path, cluster, "load") for cluster in CLUSTERS}
        loads = {
            cluster: stack.enter_context(under_load(clusters, cluster, pairs[cluster], "rotate", pause=0.1))
            for cluster in CLUSTERS
        }
        outcome = rotate(clusters, "--force")
    assert outcome.exit_code == 0, outcome.text
    assert start_times(clusters) == running, "no etcd was restarted"
    for cluster, load in loads.items():
        print(f"{cluster}: {load.requests} requests, longest {load.longest:.2f} s, {load.most_retries} retries at most")
        # A rotation is over in seconds, and how many requests fit in depends on the machine.
        assert load.requests > sum(map(len, before[cluster].values())), "more than certificates that were replaced"
        assert not load.lost, load.said
        assert not load.wrong
        assert load.most_retries <= 1, load.said
        assert unseen(load) == [], load.said
        assert missing(clusters, cluster, pairs[cluster], "rotate", load) == []
        assert unhealthy(clusters, cluster) == ""
        after = serials(clusters, cluster)
        for host in members(clusters, cluster):
            assert not set(after[host]) & set(before[cluster][host]), "all three are new"
            assert [served(clusters, host, 2380), served(clusters, host, 2379)] == after[host][:2]
    seconds = [step["seconds"] for host in outcome.report["hosts"] for step in [outcome.step(host, "rotate")]]
    print(f"seconds per host: {seconds}")


@pytest.mark.thorough(
    "unit/remote/test_scripts_run.py::test_old_sets_are_removed",
    "unit/tasks/certificates/test_rotate.py::test_a_new_certificate_is_placed_and_proven",
    "unit/tasks/certificates/test_place.py::test_sets_that_are_still_to_be_revoked_stay",
)
def test_sets_of_before_are_kept_but_not_all(clusters: LabHandle) -> None:
    host = members(clusters, "t-rc")[0]
    for _ in range(2):  # besides those of the first deploy and of the rotation above
        assert rotate(clusters, "--force", "--only", "client", "--limit", host).exit_code == 0
    sets = output(clusters, host, f"ls {CERTS}/sets").split()
    assert len([name for name in sets if name.startswith("client-")]) == 3
    used = output(clusters, host, f"readlink {CERTS}/etcdctl").strip().removeprefix("sets/")
    assert used in sets


def test_a_wrong_certificate_is_not_placed(clusters: LabHandle) -> None:
    root = lab.vault.client(clusters.plan)
    path = f"{pki.side_mount('t-rc', 'client')}/roles/{pki.role_names('t-rc')['server']}"
    usual = root.read(path)["data"]
    before = serials(clusters, "t-rc")
    root.write_data(path, data={**usual, "allowed_domains": ["elsewhere.home"]})
    try:
        outcome = rotate(clusters, "--force", "--cluster", "t-rc")
    finally:
        root.write_data(path, data=usual)
    assert outcome.exit_code == 1, outcome.text
    assert set(outcome.failed) == set(members(clusters, "t-rc")), "the role is judged before any member is touched"
    assert "does not sign for" in outcome.text
    assert serials(clusters, "t-rc") == before
    for host in outcome.failed:
        assert ".new" not in output(clusters, host, f"ls -a {CERTS}/sets")
    assert unhealthy(clusters, "t-rc") == ""


def test_certificates_that_do_not_prove_themselves_are_put_back(clusters: LabHandle) -> None:
    """etcd cannot read the new pair: as if the card had gone bad between placing and looking."""
    host = members(clusters, "t-rc")[0]
    before = serials(clusters, "t-rc")[host]
    with spoilt(clusters, host):
        outcome = rotate(clusters, "--force", "--only", "server", "--limit", host)
    assert outcome.exit_code == 1, outcome.text
    assert "did not prove themselves" in outcome.error(host)
    assert "the previous ones are back, and all is well" in outcome.error(host)
    assert serials(clusters, "t-rc")[host] == before
    assert served(clusters, host, 2379) == before[1]


@contextmanager
def spoilt(handle: LabHandle, host: str) -> Iterator[None]:
    """A new set of the server's pair is unreadable as soon as it is there: a loop on the host takes its owner back."""
    # `read` sleeps without a process of its own: the loops of three hosts took all of the processor otherwise.
    loop = (
        f"exec 3<>/tmp/tick; old=$(readlink {CERTS}/client); "
        f"while [ ! -e /tmp/stop ]; do now=$(readlink {CERTS}/client); "
        f'[ "$now" = "$old" ] || chown root:root {CERTS}/$now/*.key; read -t 0.02 -r _ <&3; done'
    )
    output(handle, host, f"rm -f /tmp/stop /tmp/tick; mkfifo /tmp/tick; nohup sh -c '{loop}' >/dev/null 2>&1 & true")
    try:
        yield
    finally:
        output(handle, host, "touch /tmp/stop")


def without_service_name(handle: LabHandle, folder: Path) -> Path:
    """An inventory by which every server certificate is valid for a name too many, so that all of them are due."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"]["t-rc"]["data"]["cluster"].pop("service_name")

    return inventory_variant(handle, folder, edit)


@pytest.mark.thorough(
    "lab/test_rotate.py::test_certificates_that_do_not_prove_themselves_are_put_back",
    "lab/test_rotate.py::test_deploy_replaces_pairs_one_member_at_a_time",
    "unit/plays/test_rotate.py::test_a_member_that_did_not_prove_itself_stops_the_others",
)
def test_deploy_spoils_one_member_at_most(clusters: LabHandle, tmp_path: Path) -> None:
    """All server certificates are due, and the new one does no good: the first member gets its own back.

    Before, deploy placed new pairs on all members at once, and looked afterwards.
    """
    config, before = without_service_name(clusters, tmp_path), serials(clusters, "t-rc")
    with ExitStack() as stack:
        for host in members(clusters, "t-rc"):
            stack.enter_context(spoilt(clusters, host))
        outcome = deploy(clusters, "--cluster", "t-rc", config=config)
    assert outcome.exit_code == 1, outcome.text
    (first,) = outcome.failed
    assert "did not prove themselves" in outcome.error(first)
    assert "the previous ones are back, and all is well" in outcome.error(first)
    assert serials(clusters, "t-rc") == before
    assert unhealthy(clusters, "t-rc") == ""
    assert outcome.step(next(host for host in members(clusters, "t-rc") if host != first), "verify")["summary"] == (
        f"not touched, since {first} failed"
    )


def test_deploy_replaces_pairs_one_member_at_a_time(clusters: LabHandle, tmp_path: Path) -> None:
    config, before = without_service_name(clusters, tmp_path), serials(clusters, "t-rc")
    pair, running = client_pair(clusters, tmp_path, "t-rc", "names"), start_times(clusters)
    said = deploy(clusters, "--check", "--cluster", "t-rc", config=config)
    for host in members(clusters, "t-rc"):
        assert said.step(host, "certificates")["summary"] == "to be replaced, one member at a time"
        assert "server certificate is renewed" in said.step(host, "certificates")["changes"][0]
    with under_load(clusters, "t-rc", pair, "names") as load:
        outcome = deploy(clusters, "--cluster", "t-rc", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert load.most_retries <= 1, load.said
    assert not load.lost, load.said
    assert start_times(clusters) == running
    turns = [
        (event["event"], event["host"])
        for event in outcome.events
        if event.get("step") == "certificates" and event["event"] in ("step_started", "step_finished")
    ][2 * len(before) :]
    assert len(turns) == 2 * len(before), "after what is done on all at once, each has its turn"
    assert all(turns[at][1] == turns[at + 1][1] for at in range(0, len(turns), 2)), turns
    for host, found in serials(clusters, "t-rc").items():
        assert [new == old for new, old in zip(found, before[host], strict=True)] == [True, False, True]
    again = deploy(clusters, "--cluster", "t-rc", config=config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    assert deploy(clusters, "--cluster", "t-rc").exit_code == 0, "and back to the previous names"


def test_a_member_that_is_down_stops_the_cluster(clusters: LabHandle) -> None:
    down, *others = members(clusters, "t-rc")
    before = serials(clusters, "t-rc")
    output(clusters, down, "rc-service etcd stop")
    try:
        outcome = rotate(clusters, "--force", "--cluster", "t-rc")
        assert outcome.exit_code == 3, outcome.text
        assert "etcd does not run" in outcome.text
        assert serials(clusters, "t-rc") == before
    finally:
        output(clusters, down, "rc-service etcd start")
    wait_for("the cluster is healthy", lambda: unhealthy(clusters, "t-rc") == "")
    assert others


@pytest.mark.thorough(
    "lab/test_rotate_faults.py::test_the_lock_of_a_run_that_hangs_is_broken",
    "unit/host/test_lock.py::test_the_second_is_told_who_and_since_when",
    "unit/plays/test_lock.py::test_all_members_that_can_be_reached_are_locked",
    "unit/plays/test_lock.py::test_a_cluster_that_is_taken_is_left_as_it_is",
)
def test_of_two_at_once_one_works_and_the_other_says_who(clusters: LabHandle) -> None:
    first = begin_deploy(clusters, "--force", "--cluster", "t-rc", runbook=RUNBOOK)
    reach(first, "the first one to be at work", lambda: rotating(first))
    last = members(clusters, "t-rc")[-1]
    # On another host of the same cluster, and with another runbook: the lock is the cluster's.
    with standing_still(first):  # so that it is still at work, however long these take
        second, third = rotate(clusters, "--force", "--limit", last), deploy(clusters, "--limit", last)
    for other in (second, third):
        assert other.exit_code == 3, other.text
        assert f"process {first.process.pid}" in other.text
        assert "is working on it" in other.text
        assert set(other.changed.values()) == {0}
    elsewhere = rotate(clusters, "--cluster", "t-sd")
    assert elsewhere.exit_code == 0, "the other cluster is free"
    done = first.finish()
    assert done.exit_code == 0, done.text


@pytest.mark.thorough(
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
    "lab/test_rotate.py::test_a_run_that_is_killed_while_a_member_restarts_leaves_it_running",
    "unit/host/test_lock.py::test_it_is_free_when_the_controller_lets_go_or_dies",
    "lab/test_rotate_faults.py::test_killed_between_placing_and_proof",
)
def test_a_killed_run_leaves_no_lock_and_the_next_one_finishes(clusters: LabHandle) -> None:
    run = begin_deploy(clusters, "--force", "--cluster", "t-rc", runbook=RUNBOOK)
    reach(run, "it to be at work", lambda: rotating(run))
    run.kill()
    assert run.process.returncode == -signal.SIGKILL
    wait_for("the lock to be free", lambda: rotate(clusters, "--cluster", "t-rc").exit_code == 0, timeout=60, every=1)
    assert unhealthy(clusters, "t-rc") == ""
    assert rotate(clusters, "--force", "--cluster", "t-rc").exit_code == 0
    for host in members(clusters, "t-rc"):
        assert ".new" not in output(clusters, host, f"ls -a {CERTS}/sets")


@pytest.mark.parametrize(
    ("cluster", "service"),
    [
        pytest.param(
            "t-sd",
            Systemd(),
            marks=pytest.mark.thorough(
                "lab/test_rotate.py::test_a_run_that_is_killed_while_a_member_restarts_leaves_it_running",
                "unit/remote/test_scripts_run.py::test_a_restart_is_carried_through_although_all_of_its_session_is_killed",
                "unit/remote/test_scripts_run.py::test_a_restart_is_carried_through_although_the_connection_is_lost",
            ),
        ),
        ("t-rc", OpenRC()),
    ],
    ids=CLUSTERS,
)
def test_a_run_that_is_killed_while_a_member_restarts_leaves_it_running(
    clusters: LabHandle, cluster: str, service: Service
) -> None:
    """Before, OpenRC took the cut-off start for done, and the member stayed down until the next deploy."""
    names = members(clusters, cluster)

    def pid(host: str) -> str:
        return on_host(clusters, host, service.pid).stdout.strip()

    before = {host: pid(host) for host in names}
    assert all(before.values()), before
    for host in names:
        output(clusters, host, f"echo 'a restart that is due' >>{RESTART_PENDING}")
    run = begin_deploy(clusters, "--cluster", cluster)
    down: list[str] = []

    def one_is_down() -> bool:
        down[:] = [host for host in names if pid(host) != before[host]]
        return down != []

    wait_for("a member to go down", one_is_down, every=0.005)
    run.kill()
    assert run.process.returncode == -signal.SIGKILL
    wait_for(f"{down[0]} to be up again", lambda: pid(down[0]) not in ("", before[down[0]]))
    wait_for("the cluster to be healthy", lambda: unhealthy(clusters, cluster) == "")
    again = rotate(clusters, "--force", "--cluster", cluster)
    assert again.exit_code == 0, again.text
    assert deploy(clusters, "--cluster", cluster).exit_code == 0, "and what is still due is done"
    assert all(pid(host) not in ("", before[host]) for host in names)


def trusted(handle: LabHandle, host: str) -> list[str]:
    """How many CAs the files of trust anchors on a host hold."""
    return output(handle, host, f"grep -c BEGIN {CERTS}/peerCA.pem; grep -c BEGIN {CERTS}/clientCA.pem").split()


def test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way(clusters: LabHandle, tmp_path: Path) -> None:
    old = {cluster: client_pair(clusters, tmp_path, cluster, "old") for cluster in CLUSTERS}
    for cluster in CLUSTERS:
        new_issuing_ca(clusters, cluster)
    refused = rotate(clusters)
    assert refused.exit_code == 1, refused.text
    assert "run with --ca" in refused.text
    names = [name for cluster in CLUSTERS for name in members(clusters, cluster)]
    for runbook, args in (("deploy", ()), (RUNBOOK, ("--ca",))):
        asked = deploy(clusters, "--cluster", "t-sd", *args, runbook=runbook)
        assert "certificates of 'etcd t-sd client CA the second'" in protection(asked, "t-sd").what, asked.text
        assert "client_cert.py NAME --cluster t-sd --ca-only" in protection(asked, "t-sd").remedy
        # Before, both runs went on, and every client that knew members by the previous CA alone was cut off for good.
        assert issuers(clusters, "t-sd") == {"etcd t-sd client CA"}
    # The file that says what a member trusts is broken, or gone: it is mended before the member is restarted.
    for cluster, broken in (("t-sd", "printf 'a: [' > {0}"), ("t-rc", "rm {0}")):
        output(clusters, members(clusters, cluster)[1], broken.format("/etc/etcd/conf.yml"))
    with ExitStack() as stack:
        watch = stack.enter_context(watching(clusters, names))
        # A client of the CA of before: it is welcome until the last pass.
        loads = {
            cluster: stack.enter_context(under_load(clusters, cluster, old[cluster], "ca")) for cluster in CLUSTERS
        }
        run = begin_deploy(clusters, "--ca", "--clients-ready", runbook=RUNBOOK)
        reach(run, "certificates of the new CA", lambda: rotating(run), timeout=240)
        run.kill()
        assert run.process.returncode == -signal.SIGKILL
        # A member that was being restarted comes back by itself; a run that meets it on the way stops, and says so.
        for cluster in CLUSTERS:
            wait_for(f"{cluster} to be healthy", lambda cluster=cluster: unhealthy(clusters, cluster) == "")  # type: ignore[misc]
        # Without a yes to the next one: clients of the previous CA stay welcome.
        runs: list[Outcome] = []
        wait_for("the lock to be free", lambda: _finished(clusters, runs), timeout=120, every=1)
        assert "stays trusted" in json.dumps(runs[-1].report["warnings"])
    for cluster, load in loads.items():
        print(f"{cluster}: {load.requests} requests, longest {load.longest:.2f} s, {load.most_retries} retries at most")
        assert not load.lost, load.said
        assert not load.wrong
        assert load.most_retries <= 1, load.said
        assert unseen(load) == [], load.said
        assert missing(clusters, cluster, old[cluster], "ca", load) == []
        assert max(len(down & frozenset(members(clusters, cluster))) for down in watch.down) <= 1
        assert {tuple(trusted(clusters, host)) for host in members(clusters, cluster)} == {("1", "2")}
    last = rotate(clusters, "--ca", "--yes")
    assert last.exit_code == 0, last.text
    for cluster in CLUSTERS:
        assert unhealthy(clusters, cluster) == ""
        assert {tuple(trusted(clusters, host)) for host in members(clusters, cluster)} == {("1", "1")}
        assert etcdctl_outside(clusters, cluster, old[cluster], "get", "ca/1", seconds=2).returncode != 0
        new = client_pair(clusters, tmp_path, cluster, "new")
        assert etcdctl_outside(clusters, cluster, new, "get", "ca/1").returncode == 0
    for again in (rotate(clusters, "--ca"), rotate(clusters), deploy(clusters)):
        assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def issuers(handle: LabHandle, cluster: str) -> set[str]:
    """The names of the CAs whose certificates a cluster's members show to clients."""
    found = set()
    for host in members(handle, cluster):
        pem = output(handle, host, f"cat {CERTS}/client/{handle.plan.host(host).fqdn}.pem")
        found.add(of_certificate(pem, "-issuer").rpartition("CN = ")[2])
    return found


def _finished(handle: LabHandle, runs: list[Outcome]) -> bool:
    runs.append(rotate(handle, "--ca", "--clients-ready"))
    assert runs[-1].exit_code == 0 or "another run is working" in runs[-1].text, runs[-1].text
    return runs[-1].exit_code == 0


@pytest.mark.thorough("unit/certs/test_rotation.py::test_expired_members_cannot_wait_for_health")
def test_an_expired_cluster_is_brought_back_in_one_run(clusters: LabHandle, tmp_path: Path) -> None:
    life = 45

    def edit(files: dict[str, Any]) -> None:
        roles = files["inventory/groups.yaml"]["t-rc"]["data"]["pki"]["roles"]
        for role in ("peer", "server", "client"):
            roles[role]["ttl"] = f"{life}s"

    short = inventory_variant(clusters, tmp_path, edit)
    running = {name: start_times(clusters)[name] for name in members(clusters, "t-rc")}
    assert rotate(clusters, "--force", "--cluster", "t-rc", config=short).exit_code == 0
    wait_for(
        "all certificates have expired",
        lambda: "expire" in output(clusters, members(clusters, "t-rc")[2], _expired(clusters)),
        timeout=life + 60,
        every=1,
    )
    wait_for("members refuse each other", lambda: unhealthy(clusters, "t-rc") != "", timeout=60, every=1)
    outcome = rotate(clusters, "--cluster", "t-rc")
    assert outcome.exit_code == 0, outcome.text
    assert "have expired" in json.dumps(outcome.report["warnings"])
    assert unhealthy(clusters, "t-rc") == ""
    assert {name: start_times(clusters)[name] for name in members(clusters, "t-rc")} == running, "no restart"
    again = rotate(clusters, "--cluster", "t-rc")
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def _expired(handle: LabHandle) -> str:
    host = handle.plan.host(members(handle, "t-rc")[2])
    pairs = " ".join(f"{CERTS}/{pair}/{host.fqdn}.pem" for pair in ("server", "client", "etcdctl"))
    return f"for f in {pairs}; do openssl x509 -checkend 0 -noout -in $f && exit 0; done; echo all expired"
