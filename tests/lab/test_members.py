"""A member that is lost is replaced by one command while clients work, and whatever ends it on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lab.vault as lab_vault
from etcdfleet.etcd.snapshot_file import check_snapshot
from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    begin_deploy,
    deploy,
    etcd_processes,
    etcdctl,
    inventory_variant,
    member_list,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    wait_for,
)
from tests.lab.fault_helpers import events_of
from tests.lab.load import client_pair
from tests.lab.outside import of_certificate
from tests.lab.register.workload import Workload, clients_at_work
from tests.lab.watch import leads

DATA, MARKER = "/var/lib/etcd", "/etc/etcd/cluster.json"


@pytest.fixture(scope="module")
def lab(lab_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHandle]:  # noqa: ARG001
    """Two deployed clusters, which each test leaves whole, and one with the first of its members alone."""
    with own_lab("test-members", TOPOLOGIES / "members.yaml") as handle:
        config = without(handle, tmp_path_factory.mktemp("first"), "m-grow-2", "m-grow-3", "m-grow-4")
        outcome = deploy(handle, config=config, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield handle


def without(handle: LabHandle, folder: Path, *hosts: str) -> Path:
    """The configuration with an inventory that lacks these hosts."""

    def edit(files: dict[str, Any]) -> None:
        for host in hosts:
            del files["inventory/hosts.yaml"][host]

    return inventory_variant(handle, folder, edit)


def wipe(handle: LabHandle, host: str) -> None:
    """Its data are gone, as those of a disk that died; etcd does not come up without them."""
    output(handle, host, f"systemctl stop etcd 2>/dev/null || rc-service etcd stop; rm -rf {DATA}/member")


def replace(handle: LabHandle, host: str, *args: str, folder: Path, config: Path | None = None) -> Outcome:
    """The command of which the product speaks when a member has lost its data."""
    given = (host, "--yes", "--snapshot-dir", str(folder), *args)
    return deploy(handle, *given, runbook="replace_member", config=config)


def command(host: str) -> str:
    """What a person is told to do about a host that is no member any more, or not yet."""
    return f"python runbooks/replace_member.py {host}"


def ids(handle: LabHandle, host: str) -> dict[str, int]:
    """The members by name, as the one on this host has them."""
    return {entry["name"]: entry["ID"] for entry in member_list(handle, host)}


def hand_over(handle: LabHandle, host: str, to: str) -> None:
    """If the member on ``host`` leads, let another lead: without its power, what clients wait for is an election."""
    if leads(handle, host):
        done = etcdctl(handle, host, f"move-leader {ids(handle, host)[to]:x}")
        assert done.returncode == 0, done.stderr


def whole(handle: LabHandle, cluster: str, config: Path | None = None) -> None:
    """Verify finds nothing, and deploy would change nothing."""
    outcome = deploy(handle, "--cluster", cluster, runbook="verify", config=config)
    assert outcome.exit_code == 0, outcome.text
    outcome = deploy(handle, "--cluster", cluster, "--check", config=config)
    assert (outcome.exit_code, set(outcome.changed.values())) == (0, {0}), outcome.text


def told_nothing_wrong(work: Workload) -> None:
    """What the clients were told is what one store would have told them, and they waited for no more than a retry."""
    print(work.story())
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()


@pytest.mark.thorough(
    "lab/test_members.py::test_a_replacement_that_is_killed_at_every_step_is_finished_by_the_same_command",
    "lab/test_members.py::test_a_spare_takes_the_place_of_a_machine_that_is_gone",
    "unit/etcd/test_replacement.py::test_the_next_step",
)
def test_a_member_that_lost_its_data_is_replaced_while_clients_work(lab: LabHandle, tmp_path: Path) -> None:
    """On systemd; on OpenRC it is done by runs that are killed, and with authentication on, below."""
    cluster = "m-sd"
    first, lost, third = members(lab, cluster)
    pair, before, running = client_pair(lab, tmp_path, cluster, "root"), ids(lab, first), start_times(lab)
    with clients_at_work(lab, pair, "wiped", [first, third]) as work:
        wipe(lab, lost)
        refused = deploy(lab, "--cluster", cluster)
        assert refused.exit_code == 3, refused.text
        assert command(lost) in refused.in_one_line
        shown = deploy(lab, "--cluster", cluster, runbook="status")
        assert command(lost) in shown.in_one_line, shown.text

        said = replace(lab, lost, "--check", folder=tmp_path / "none")
        assert said.exit_code == 0, said.text
        assert "is added as a learner" in said.text
        assert ids(lab, first) == before
        assert not (tmp_path / "none").exists()

        outcome = replace(lab, lost, folder=tmp_path / "snapshots")
        assert outcome.exit_code == 0, outcome.text
        work.use(first, lost, third)
    told_nothing_wrong(work)

    after = ids(lab, first)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {lost}
    assert {host: running[host] for host in (first, third)} == {
        host: each for host, each in start_times(lab).items() if host in (first, third)
    }, "the others were not restarted"
    for host in (first, lost, third):
        assert json.loads(output(lab, host, f"cat {MARKER}"))["members"] == after
    (snapshot,) = (tmp_path / "snapshots" / cluster).glob("*.db")
    note = json.loads(snapshot.with_suffix(".json").read_text())
    assert check_snapshot(snapshot).sha256 == note["sha256"]
    assert snapshot.stat().st_mode & 0o777 == 0o600
    for host in (first, third):
        assert on_host(lab, host, "ls -d /var/lib/etcdfleet-snapshot.* /var/tmp/etcdfleet-snapshot.*").stdout == ""
    whole(lab, cluster)
    assert deploy(lab, "--cluster", cluster, runbook="status").exit_code == 0
    again = replace(lab, lost, folder=tmp_path / "snapshots")
    assert (again.exit_code, again.changed) == (0, {lost: 0}), again.text


RUNS = 12
"""More than there are steps to be killed at."""


def killed_after(handle: LabHandle, host: str, changes: int, folder: Path, *, joining: bool = False) -> str:
    """Start the command, and kill it once so many of its steps have changed something, or with ``joining`` etcd starts.

    Returns the last of them, ``start`` for that, empty where the run came to its end before.
    """
    running = begin_deploy(handle, host, "--yes", "--snapshot-dir", str(folder), runbook="replace_member")

    def reached() -> str:
        if joining and events_of(running.events(), "step_started", "start"):
            return "start"
        ended = (each for each in running.events() if each["event"] == "step_finished")
        changed = [str(each["step"]) for each in ended if each["status"] == "changed"]
        return changed[-1] if len(changed) >= changes else ""

    wait_for(f"{changes} changes", lambda: bool(reached()) or running.process.poll() is not None, 120, every=0.005)
    if running.process.poll() is not None:
        outcome = running.finish()
        assert outcome.exit_code == 0, outcome.text
        return ""
    running.kill()
    return reached()


def test_a_replacement_that_is_killed_at_every_step_is_finished_by_the_same_command(
    lab: LabHandle, tmp_path: Path
) -> None:
    """On OpenRC, which takes a start that was cut off for a service that runs."""
    cluster = "m-rc"
    first, second, lost = members(lab, cluster)
    pair, before = client_pair(lab, tmp_path, cluster, "root"), ids(lab, first)
    with clients_at_work(lab, pair, "killed", [first, second]) as work:
        output(lab, lost, "systemctl stop etcd 2>/dev/null || rc-service etcd stop")
        segment = f"ls {DATA}/member/wal/*.wal | head -n 1"
        output(lab, lost, f"dd if=/dev/zero of=$({segment}) bs=4096 count=1 conv=notrunc 2>/dev/null")
        # The first within what follows the snapshot; each of the others one change further than the one before.
        killed = [killed_after(lab, lost, 1, tmp_path / "snapshots")]
        while killed[-1] and len(killed) < RUNS:
            joining = "start" not in killed
            killed.append(killed_after(lab, lost, 2, tmp_path / "snapshots", joining=joining))
        assert killed[0] == "snapshot"
        assert killed.count("member") >= 2, killed
        assert "start" in killed, killed
        assert len(killed) < RUNS, killed
        print(killed)
        work.use(first, second, lost)
    told_nothing_wrong(work)
    after = ids(lab, first)
    assert {name for name in after if after[name] != before[name]} == {lost}
    kept = output(lab, lost, f"ls -d {DATA}/removed-*/member/wal").split()
    assert len(kept) == 1, "the old data are kept"
    assert not list((tmp_path / "snapshots").rglob("*.part"))
    output(lab, lost, f"rm -rf {DATA}/removed-*")
    whole(lab, cluster)


@pytest.mark.thorough(
    "unit/plays/test_remove_member.py::test_a_member_leaves_and_nothing_of_it_starts_again",
    "unit/plays/test_remove_member.py::test_a_run_that_was_ended_after_the_removal_is_finished",
    "unit/plays/test_replace_member.py::test_a_deploy_takes_in_what_is_new_without_a_question",
    "lab/test_members.py::test_a_healthy_member_moves_to_another_machine",
    "lab/test_members.py::test_a_spare_takes_the_place_of_a_machine_that_is_gone",
)
def test_a_member_leaves_for_good_and_is_taken_in_again(lab: LabHandle, tmp_path: Path) -> None:
    first, second, third = members(lab, "m-sd")
    pair, running = client_pair(lab, tmp_path, "m-sd", "root"), start_times(lab)
    with clients_at_work(lab, pair, "leaves", [first, second]) as work:
        left = deploy(lab, third, "--yes", "--snapshot-dir", str(tmp_path), runbook="remove_member")
        assert left.exit_code == 0, left.text
        assert f"take {third} out of the inventory" in left.stdout
        assert "hosts.yaml:" in left.stdout
        assert etcd_processes(lab, third) == []
        assert on_host(lab, third, "systemctl is-enabled etcd").stdout.strip() == "disabled"
        assert set(ids(lab, first)) == {first, second}
        again = deploy(lab, third, "--yes", "--snapshot-dir", str(tmp_path), runbook="remove_member")
        assert (again.exit_code, again.changed) == (0, {third: 0}), again.text
        others = deploy(lab, "--cluster", "m-sd", config=without(lab, tmp_path, third))
        assert others.exit_code == 0, others.text
        refused = deploy(lab, "--cluster", "m-sd")
        assert refused.exit_code == 3, refused.text
        assert command(third) in refused.in_one_line
        back = replace(lab, third, folder=tmp_path)
        assert back.exit_code == 0, back.text
        work.use(first, second, third)
    told_nothing_wrong(work)
    assert {host: running[host] for host in (first, second)} == {
        host: each for host, each in start_times(lab).items() if host in (first, second)
    }, "the others were not restarted"
    assert deploy(lab, "--cluster", "m-sd").exit_code == 0
    whole(lab, "m-sd")


def test_a_cluster_grows_from_one_to_three_by_a_deploy(lab: LabHandle, tmp_path: Path) -> None:
    """In no moment does a member without data count for the quorum; a run that is killed on the way is finished."""
    one, *new, spare = members(lab, "m-grow")
    config = without(lab, tmp_path, spare)
    pair, running = client_pair(lab, tmp_path, "m-grow", "root"), start_times(lab)[one]
    with clients_at_work(lab, pair, "grows", [one]) as work:
        said = deploy(lab, "--cluster", "m-grow", "--check", config=config)
        assert said.exit_code == 0, said.text
        assert "is added as a learner" in said.text
        assert set(ids(lab, one)) == {one}
        killed = begin_deploy(lab, "--cluster", "m-grow", config=config)
        try:
            wait_for(
                "start of the first new one",
                lambda: new[0] in events_of(killed.events(), "step_finished", "start"),
                timeout=120,
                every=0.005,
            )
        finally:
            killed.kill()
        outcome = deploy(lab, "--cluster", "m-grow", timeout=600, config=config)
        assert outcome.exit_code == 0, outcome.text
        work.use(one, *new)
    told_nothing_wrong(work)
    assert set(ids(lab, one)) == {one, *new}
    assert start_times(lab)[one] == running, "it was not restarted"
    whole(lab, "m-grow", config)


def test_a_healthy_member_moves_to_another_machine(lab: LabHandle, tmp_path: Path) -> None:
    """The new one is a member before the old one leaves: the cluster can lose as many as before all the time."""
    old, second, third, spare = members(lab, "m-grow")
    pair, running = client_pair(lab, tmp_path, "m-grow", "root"), start_times(lab)
    with clients_at_work(lab, pair, "moves", [second, third]) as work:
        moved = replace(lab, old, "--with", spare, folder=tmp_path)
        assert moved.exit_code == 0, moved.text
        work.use(second, third, spare)
    told_nothing_wrong(work)
    assert set(ids(lab, second)) == {second, third, spare}
    assert etcd_processes(lab, old) == []
    assert on_host(lab, old, "systemctl is-enabled etcd").stdout.strip() == "disabled"
    left = start_times(lab)
    assert [left[host] for host in (second, third)] == [running[host] for host in (second, third)]
    after = without(lab, tmp_path, old)
    assert deploy(lab, "--cluster", "m-grow", config=after).exit_code == 0
    whole(lab, "m-grow", after)


def test_a_spare_takes_the_place_of_a_machine_that_is_gone(lab: LabHandle, tmp_path: Path) -> None:
    """It has another name, and once held a member itself; the one that is gone is in the inventory no more. Later, one
    that is gone, too, is removed by its name."""
    spare, second, gone, fourth = members(lab, "m-grow")
    config = without(lab, tmp_path, gone)
    pair = client_pair(lab, tmp_path, "m-grow", "root")
    with clients_at_work(lab, pair, "gone", [second, fourth]) as work:
        hand_over(lab, gone, second)
        lab.stop(gone)
        asked = replace(lab, spare, folder=tmp_path, config=config)
        assert asked.exit_code == 3, asked.text
        assert f"--instead-of {gone}" in asked.in_one_line
        outcome = replace(lab, spare, "--instead-of", gone, folder=tmp_path, config=config)
        assert outcome.exit_code == 0, outcome.text
        work.use(second, fourth, spare)
    told_nothing_wrong(work)
    assert set(ids(lab, second)) == {spare, second, fourth}
    assert deploy(lab, "--cluster", "m-grow", config=config).exit_code == 0
    whole(lab, "m-grow", config)

    lab.stop(fourth)
    refused = deploy(lab, fourth, "--yes", runbook="remove_member", config=config)
    assert refused.exit_code == 3, refused.text
    arguments = ("--gone", fourth, "--cluster", "m-grow")
    assert f"remove_member.py {' '.join(arguments)}" in refused.in_one_line
    removed = deploy(lab, *arguments, "--yes", "--snapshot-dir", str(tmp_path), runbook="remove_member", config=config)
    assert removed.exit_code == 0, removed.text
    assert set(ids(lab, second)) == {spare, second}
    left = without(lab, tmp_path, gone, fourth)
    assert deploy(lab, "--cluster", "m-grow", config=left).exit_code == 0


@pytest.mark.thorough(
    "lab/test_restore.py::test_all_data_directories_are_lost",
    "lab/test_members.py::test_a_replacement_that_is_killed_at_every_step_is_finished_by_the_same_command",
)
def test_a_member_is_replaced_where_authentication_is_on(lab: LabHandle, tmp_path: Path) -> None:
    """The hosts' etcdctl acts as root: a learner is added, and promoted by the leader itself."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"]["m-rc"]["data"]["auth"] = {"enabled": True}

    first, lost, third = members(lab, "m-rc")
    config = inventory_variant(lab, tmp_path, edit)
    on = deploy(lab, "--cluster", "m-rc", config=config)
    assert on.exit_code == 0, on.text
    pair = client_pair(lab, tmp_path, "m-rc", "root")
    with clients_at_work(lab, pair, "auth", [first, third]) as work:
        wipe(lab, lost)
        outcome = deploy(lab, lost, "--yes", "--snapshot-dir", str(tmp_path), runbook="replace_member", config=config)
        assert outcome.exit_code == 0, outcome.text
        work.use(first, lost, third)
    told_nothing_wrong(work)
    whole(lab, "m-rc", config)


OURS = (
    "/etc/etcd /etc/profile.d/etcdctl.sh /usr/local/lib/etcdfleet /usr/bin/etcd /usr/bin/etcdctl /var/log/etcd"
    " /etc/systemd/system/etcd.service /etc/systemd/system/etcd-server.service /etc/conf.d/etcd"
)


def left_on(handle: LabHandle, host: str, *more: str) -> list[str]:
    """What there still is of our files on a host, and of these."""
    return on_host(handle, host, f"ls -d {OURS} {' '.join(more)} 2>/dev/null").stdout.split()


def take_down(handle: LabHandle, cluster: str, folder: Path, *args: str, **how: Any) -> Outcome:
    """The whole cluster, its name given in place of typed."""
    given = ("--cluster", cluster, "--confirm", cluster, "--snapshot-dir", str(folder), *args)
    return deploy(handle, *given, runbook="teardown", **how)


def test_a_cluster_is_taken_down_and_deployed_anew_without_a_trace_of_its_data(lab: LabHandle, tmp_path: Path) -> None:
    """Killed between the first member that was stopped and the last; the data are kept the first time, and then not."""
    cluster, (first, second, third) = "m-sd", members(lab, "m-sd")
    assert etcdctl(lab, first, "put last/words taken-down").returncode == 0
    before = ids(lab, first)
    for args, code in (((), 3), (("--yes",), 3), (("--confirm", "m-rc"), 2)):
        refused = deploy(lab, "--cluster", cluster, *args, runbook="teardown")
        assert refused.exit_code == code, refused.text
    assert ids(lab, second) == before

    begun = ("--cluster", cluster, "--confirm", cluster, "--snapshot-dir", str(tmp_path))
    run = begin_deploy(lab, *begun, runbook="teardown")
    wait_for("a member to be stopped", lambda: events_of(run.events(), "step_finished", "stop") != [], 90, every=0.005)
    run.kill()
    (snapshot,) = (tmp_path / cluster).glob("*.db")
    assert b"taken-down" in snapshot.read_bytes()
    check_snapshot(snapshot)
    assert left_on(lab, first, f"{DATA}/member") != []
    outcome = take_down(lab, cluster, tmp_path)
    assert outcome.exit_code == 0, outcome.text
    for host in (first, second, third):
        assert etcd_processes(lab, host) == []
        assert left_on(lab, host, f"{DATA}/member") == []
        assert len(output(lab, host, f"ls -d {DATA}/removed-*/member/wal").split()) >= 1, "its data are kept"
    again = take_down(lab, cluster, tmp_path)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text

    anew = deploy(lab, "--cluster", cluster, timeout=600)
    assert anew.exit_code == 0, anew.text
    assert etcdctl(lab, second, "get '' --prefix --keys-only").stdout.split() == []
    whole(lab, cluster)
    gone = take_down(lab, cluster, tmp_path, "--delete-data")
    assert gone.exit_code == 0, gone.text
    for host in (first, second, third):
        assert left_on(lab, host, DATA) == []


@pytest.mark.thorough(
    "unit/plays/test_teardown.py::test_nothing_is_done_without_a_snapshot_of_a_cluster_that_answers",
    "unit/plays/test_teardown.py::test_certificates_are_revoked_before_their_files_go",
    "lab/test_members.py::test_a_cluster_is_taken_down_and_deployed_anew_without_a_trace_of_its_data",
)
def test_a_cluster_that_is_down_is_not_deleted_without_a_snapshot(lab: LabHandle, tmp_path: Path) -> None:
    """On OpenRC; its certificates are revoked."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"]["m-rc"]["data"]["auth"] = {"enabled": True}
        files["inventory/groups.yaml"]["m-rc"]["data"]["pki"]["revoke"] = True

    names, config = members(lab, "m-rc"), inventory_variant(lab, tmp_path, edit)
    root = lab_vault.client(lab.plan)
    fqdn = lab.plan.host(names[0]).fqdn
    serial = of_certificate(output(lab, names[0], f"cat /etc/etcd/certs/client/{fqdn}.pem"), "-serial")
    for host in names:
        output(lab, host, "rc-service etcd stop")
    how: dict[str, Any] = {"config": config, "env": {"VAULT_TOKEN": str(root.token)}}
    refused = take_down(lab, "m-rc", tmp_path, "--delete-data", **how)
    assert refused.exit_code == 3, refused.text
    assert "leave out --delete-data" in refused.in_one_line
    assert "--without-snapshot" in refused.in_one_line
    assert left_on(lab, names[0], f"{DATA}/member") != []
    outcome = take_down(lab, "m-rc", tmp_path, "--delete-data", "--without-snapshot", **how)
    assert outcome.exit_code == 0, outcome.text
    for host in names:
        assert left_on(lab, host, DATA, "/etc/init.d/etcd") == []
        assert outcome.step(host, "revoke")["status"] == "changed"
    plain = serial.rpartition("=")[2].strip()
    number = ":".join(plain[at : at + 2] for at in range(0, len(plain), 2)).lower()
    answer = root.secrets.pki.read_certificate(number, mount_point=pki.side_mount("m-rc", "client"))
    assert answer["data"]["revocation_time"] > 0
