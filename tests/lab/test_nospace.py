"""A database that is full, filled by writes: what is said of it, and that each way out that is told leads out.

etcd 3.4 on systemd, 3.5 on OpenRC: to 3.4 a member of a full database is healthy, to 3.5 it is not.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.state import PROJECT
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    deploy,
    etcdctl,
    etcdctl_command,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.rotate_helpers import replaced, rotate, serials

SD, RC = CLUSTERS = ("n-sd", "n-rc")
CONF = "/etc/etcd/conf.yml"
RAISE = "or raise cluster.quota_bytes and run deploy"
MAKE_ROOM = "make room: python runbooks/repair.py"


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-nospace", TOPOLOGIES / "nospace.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nospace")


def with_quota(handle: LabHandle, folder: Path, quota: str) -> Path:
    """The lab's configuration with this quota for both clusters."""

    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            files["inventory/groups.yaml"][cluster]["data"]["cluster"]["quota_bytes"] = quota

    return inventory_variant(handle, folder, edit)


@pytest.fixture(scope="module")
def small(lab: LabHandle, folder: Path) -> Path:
    """The configuration with the smallest quota; both clusters are deployed with it."""
    config = with_quota(lab, folder, "64MiB")
    outcome = deploy(lab, config=config, timeout=600)
    assert outcome.exit_code == 0, outcome.text
    return config


def fill(handle: LabHandle, cluster: str) -> None:
    """Writes 900 kB into one of five keys, again and again, until the cluster refuses it."""
    host = members(handle, cluster)[-1]
    put = etcdctl_command(handle, host, "put /space/$((n % 5))", seconds=20)
    script = "head -c 900000 /dev/zero | tr '\\0' x >/tmp/fill; n=0; while [ $n -lt 100 ]; do n=$((n+1)); "
    script += f"{put} </tmp/fill 2>&1 >/dev/null || break; done; rm /tmp/fill"
    assert "database space exceeded" in on_host(handle, host, script, timeout=180).stdout
    wait_for("the alarm is raised", lambda: "NOSPACE" in alarms(handle, cluster))
    assert not writes(handle, cluster)


def fill_all(handle: LabHandle) -> None:
    with ThreadPoolExecutor(len(CLUSTERS)) as pool:
        list(pool.map(lambda cluster: fill(handle, cluster), CLUSTERS))


def alarms(handle: LabHandle, cluster: str) -> str:
    done = etcdctl(handle, members(handle, cluster)[0], "alarm list")
    assert done.returncode == 0, done.stderr
    return done.stdout


def writes(handle: LabHandle, cluster: str) -> bool:
    """Whether a write through each member of the cluster succeeds; one that is refused is refused by all."""
    done = [etcdctl(handle, host, "put /space/written yes") for host in members(handle, cluster)]
    assert len({one.returncode for one in done}) == 1, done
    return done[0].returncode == 0


def status(handle: LabHandle, config: Path) -> Outcome:
    return deploy(handle, runbook="status", config=config, timeout=120)


def concerns(handle: LabHandle, outcome: Outcome, cluster: str) -> list[tuple[str, str]]:
    """What status says is broken in a cluster: sentences and remedies."""
    found = [one for host in members(handle, cluster) for one in outcome.host(host)["facts"]["concerns"]]
    return list({(one["what"], one["remedy"]): 0 for one in found if one["level"] == "broken"})


def the_alarm(handle: LabHandle, outcome: Outcome, cluster: str) -> str:
    """The remedy of the one sentence about the alarm, which is all that is broken."""
    found = concerns(handle, outcome, cluster)
    assert len(found) == 1, found
    assert "database full (alarm NOSPACE)" in found[0][0]
    return found[0][1]


def way_out() -> tuple[str, str, str]:
    """The commands in docs/hosts.md: compact, defragment one member, end the alarm."""
    section = (PROJECT / "docs" / "hosts.md").read_text().partition("## A database that is full")[2]
    lines = section.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert ["compact" in lines[1], "defrag" in lines[2], "alarm disarm" in lines[3]] == [True] * 3, lines
    return "\n".join(lines[:2]), lines[2], lines[3]


def shell(handle: LabHandle, host: str, commands: str) -> None:
    """What a person types in a root's login shell."""
    output(handle, host, f"sh -lc {shlex.quote(f'set -e; {commands}')}", timeout=120)


def check_of(outcome: Outcome, host: str, name: str) -> dict[str, Any]:
    return next(check for check in outcome.host(host)["facts"]["checks"] if check["check"] == name)


def test_a_full_database_is_said_with_its_ways_out(lab: LabHandle, small: Path) -> None:
    fill_all(lab)
    verified = deploy(lab, runbook="verify", config=small, timeout=300)
    assert verified.exit_code == 1, verified.text
    outcome = status(lab, small)
    assert outcome.exit_code == 1, outcome.text
    assert outcome.stdout.count("3 of 3 members serve, can lose 1") == len(CLUSTERS)
    assert outcome.in_one_line.count("takes no more writes") >= len(CLUSTERS)
    assert "differs" not in outcome.stdout
    for cluster in CLUSTERS:
        remedy = the_alarm(lab, outcome, cluster)
        assert remedy.startswith(MAKE_ROOM), remedy
        assert RAISE in remedy, remedy
        for host in members(lab, cluster):
            assert re.search(rf"^  {host} +full ", outcome.stdout, re.MULTILINE), outcome.text
            assert "NOSPACE" in outcome.host(host)["facts"]["alarms"][0]
            found = check_of(verified, host, "alarms")
            assert (found["ok"], "NOSPACE" in found["evidence"]) == (False, True), found
            assert found["remedy"] == remedy
            # Reads work, which is what this check asks for.
            assert check_of(verified, host, "health")["ok"]


def test_certificates_of_a_full_cluster_are_renewed(lab: LabHandle, small: Path) -> None:
    """Before, 3.5: exit code 3, no certificate was touched, and --allow-degraded, which was told, did not help."""
    before = {cluster: serials(lab, cluster) for cluster in CLUSTERS}
    outcome = rotate(lab, "--force", config=small)
    for cluster in CLUSTERS:
        assert replaced(before[cluster], serials(lab, cluster)) == members(lab, cluster), outcome.text
        for host in members(lab, cluster):
            assert outcome.step(host, "rotate")["status"] == "changed", outcome.text
            assert "NOSPACE" in outcome.error(host), "the alarm still stands, which verify says"
    assert outcome.exit_code == 1, outcome.text


def test_room_is_made_by_hand(lab: LabHandle, small: Path) -> None:
    """As docs/hosts.md has it; then the alarm is ended by hand, or by deploy."""
    compact, defragment, _ = way_out()
    for cluster in CLUSTERS:
        shell(lab, members(lab, cluster)[0], compact)
    compacted = status(lab, small)
    for cluster in CLUSTERS:
        assert the_alarm(lab, compacted, cluster).startswith(MAKE_ROOM), "compacted, and not yet defragmented"
        for host in members(lab, cluster):
            there = defragment.replace("etcd.az1.k8s.home", lab.plan.host(host).fqdn)
            shell(lab, members(lab, cluster)[0], there)
    smaller = status(lab, small)
    for cluster in CLUSTERS:
        remedy = the_alarm(lab, smaller, cluster)
        assert remedy.startswith("there is room again: python runbooks/repair.py, or deploy for the whole cluster")
        assert not writes(lab, cluster)
    shell(lab, members(lab, SD)[0], way_out()[2])
    running = start_times(lab)
    outcome = deploy(lab, config=small)
    assert outcome.exit_code == 0, outcome.text
    assert start_times(lab) == running
    assert outcome.changed == {**dict.fromkeys(running, 0), "n-rc-1": 1}
    assert "the alarm NOSPACE is ended" in json.dumps(outcome.step("n-rc-1", "verify")), outcome.text
    for cluster in CLUSTERS:
        assert writes(lab, cluster)
    assert status(lab, small).exit_code == 0


@pytest.mark.usefixtures("small")
def test_the_quota_is_raised_and_deployed(lab: LabHandle, folder: Path) -> None:
    """Before, 3.5: exit code 3 with two alarms, since "NOSPACE NOSPACE" was not understood; with one, the first member
    was restarted and then waited for in vain, exit code 1; on 3.4 the alarm was left to be found by verify."""
    large = with_quota(lab, folder, "128MiB")
    fill_all(lab)
    full = status(lab, large)
    for cluster in CLUSTERS:
        # By the running quota, there is no room yet.
        remedy = the_alarm(lab, full, cluster)
        assert remedy.startswith("run deploy for the whole cluster: it restarts one member after the other"), remedy
    part = deploy(lab, "--limit", "n-rc-2", config=large)
    assert part.exit_code == 1, part.text
    assert part.step("n-rc-2", "start")["status"] == "changed", part.text
    assert "NOSPACE" in part.error("n-rc-2")
    assert "NOSPACE" in alarms(lab, RC), "ended only when all members are known to have room"
    outcome = deploy(lab, config=large)
    assert outcome.exit_code == 0, outcome.text
    for cluster in CLUSTERS:
        assert alarms(lab, cluster) == ""
        assert unhealthy(lab, cluster) == ""
        assert writes(lab, cluster)
        assert "the alarm NOSPACE is ended" in json.dumps(outcome.step(f"{cluster}-1", "verify")), outcome.text
    again = deploy(lab, config=large)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.thorough(
    "unit/etcd/test_gates.py::test_the_others_decide",
    "unit/etcd/test_space.py::test_with_room_on_all_nothing_stands_against_it",
)
def test_one_member_alone_is_full(lab: LabHandle, folder: Path) -> None:
    """Its quota was changed by hand, to less than it has. Before, 3.5: it was restarted, and waited for in vain."""
    large, cluster = with_quota(lab, folder, "128MiB"), RC
    host = members(lab, cluster)[1]
    smaller = f"sed -i 's/^quota-backend-bytes: .*/quota-backend-bytes: 9000000/' {CONF}"
    output(lab, host, f"{smaller}; rc-service etcd restart")
    wait_for(f"{cluster} is healthy", lambda: unhealthy(lab, cluster) == "")
    assert etcdctl(lab, host, "put /space/one no").returncode != 0
    assert alarms(lab, cluster).count("NOSPACE") == 1
    full = deploy(lab, "--cluster", cluster, runbook="status", config=large, timeout=120)
    assert the_alarm(lab, full, cluster).startswith("run deploy for the whole cluster")
    outcome = deploy(lab, "--cluster", cluster, config=large)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.step(host, "start")["status"] == "changed", outcome.text
    assert alarms(lab, cluster) == ""
    assert writes(lab, cluster)


@pytest.mark.thorough(
    "unit/plays/test_restore.py::test_an_alarm_of_the_snapshot_is_ended_with_a_yes_once_there_is_room"
)
def test_the_alarm_in_a_snapshot_is_ended_once_a_larger_quota_gives_room(
    lab: LabHandle, folder: Path, tmp_path: Path
) -> None:
    """A snapshot holds the alarm of a full cluster, and a restore of it would refuse writes for ever."""
    large, cluster = with_quota(lab, folder, "256MiB"), SD
    for host in members(lab, cluster):
        output(lab, host, f"sed -i 's/^quota-backend-bytes: .*/quota-backend-bytes: 9000000/' {CONF}")
        output(lab, host, "systemctl restart etcd")
        wait_for(f"{cluster} is healthy", lambda: unhealthy(lab, cluster) == "")
    fill(lab, cluster)
    saved = deploy(lab, "--cluster", cluster, "--folder", str(tmp_path), runbook="backup", config=large)
    assert "NOSPACE" in json.loads(next((tmp_path / cluster).glob("*.json")).read_text())["alarms"], saved.text
    given = ("--cluster", cluster, "--confirm", cluster, "--snapshot-dir", str(tmp_path))
    restored = deploy(lab, "latest", *given, runbook="restore", config=large, timeout=600)
    assert "the alarm NOSPACE came with the snapshot" in restored.in_one_line, restored.text
    assert not writes(lab, cluster)
    ended = deploy(lab, "latest", *given, "--yes", runbook="restore", config=large, timeout=600)
    assert ended.exit_code == 0, ended.text
    assert alarms(lab, cluster) == ""
    assert writes(lab, cluster)
