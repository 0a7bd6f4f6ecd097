"""Fragmented databases become smaller while clients work, and full ones take writes again, by one command each.

etcd 3.4 on systemd, 3.5 on OpenRC.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.etcd.snapshot_file import check_snapshot
from lab import hosts
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    begin_deploy,
    deploy,
    etcdctl,
    etcdctl_command,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    wait_for,
)
from tests.lab.fault_helpers import events_of, protection
from tests.lab.load import client_pair
from tests.lab.register.workload import channel, clients_at_work
from tests.lab.test_nospace import alarms, concerns, fill, writes

MIB = 2**20
CLUSTERS = ("rp-sd", "rp-rc")
QUOTA = 64 * MIB


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-repair", TOPOLOGIES / "repair.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def config(lab: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest quota, and defragmentation from 8 MiB on; both clusters are deployed with it."""

    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            data = files["inventory/groups.yaml"][cluster]["data"]
            data["cluster"]["quota_bytes"] = "64MiB"
            data["repair"] = {"defragment_free_bytes": "8MiB"}

    config = inventory_variant(lab, tmp_path_factory.mktemp("repair"), edit)
    outcome = deploy(lab, config=config, timeout=600)
    assert outcome.exit_code == 0, outcome.text
    return config


# What repair.py decides is shown by tests/unit/etcd/test_space.py, test_corruption.py and plays/test_repair.py. Here
# each kind of repair is done once, in turn on both; what depends on version and init system, defragmentation, on both.
systemd, openrc = (pytest.mark.parametrize("cluster", [name], indirect=True) for name in CLUSTERS)
both = pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(
            CLUSTERS[0],
            marks=pytest.mark.thorough(
                "lab/test_repair.py::test_a_full_database_takes_writes_again_by_one_command",
                "lab/test_repair.py::test_a_fragmented_database_becomes_smaller_while_clients_work",
                "unit/plays/test_repair.py::test_the_leader_is_the_last_and_all_are_verified",
                "unit/tasks/test_defragment.py::test_the_leader_hands_over_before",
            ),
        ),
        CLUSTERS[1],
    ],
    indirect=True,
)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, lab: LabHandle, config: Path) -> str:  # noqa: ARG001  it is deployed
    """One of the clusters, without any data of another test."""
    name = str(request.param)
    first = members(lab, name)[0]
    assert etcdctl(lab, first, "del '' --from-key", seconds=20).returncode == 0
    etcdctl(lab, first, f"compact --physical {statuses(lab, name)[first]['header']['revision']}")
    end = time.monotonic() + 60
    while True:
        # Each member takes out by itself what was compacted: a file that is made dense before keeps all of it.
        make_dense(lab, name)
        if max(sizes(lab, name).values()) < MIB:
            return name
        assert time.monotonic() < end, sizes(lab, name)
        time.sleep(1)


def repair(handle: LabHandle, config: Path, cluster: str, *args: str) -> Outcome:
    return deploy(handle, "--cluster", cluster, *args, runbook="repair", config=config)


def statuses(handle: LabHandle, cluster: str) -> dict[str, dict[str, Any]]:
    """What each member says of itself, by host."""
    found = {}
    for host in members(handle, cluster):
        done = etcdctl(handle, host, "-w json endpoint status")
        assert done.returncode == 0, done.stderr
        found[host] = json.loads(done.stdout)[0]["Status"]
    return found


def sizes(handle: LabHandle, cluster: str) -> dict[str, int]:
    return {host: status["dbSize"] for host, status in statuses(handle, cluster).items()}


def leader(handle: LabHandle, cluster: str) -> str:
    return next(host for host, one in statuses(handle, cluster).items() if one["leader"] == one["header"]["member_id"])


def compact(handle: LabHandle, cluster: str) -> None:
    """As etcd does every hour."""
    host = members(handle, cluster)[0]
    revision = statuses(handle, cluster)[host]["header"]["revision"]
    assert etcdctl(handle, host, f"compact --physical {revision}").returncode == 0


def fragment(handle: LabHandle, cluster: str) -> None:
    """Writes 900 kB into the same key, thirty times, and compacts; what that freed counts after the next writes."""
    host = members(handle, cluster)[-1]
    put = etcdctl_command(handle, host, "put /fragments", seconds=20)
    script = "head -c 900000 /dev/zero | tr '\\0' y >/tmp/part; n=0; while [ $n -lt 30 ]; do n=$((n+1)); "
    output(handle, host, f"{script}{put} </tmp/part >/dev/null || exit; done; rm /tmp/part", timeout=180)
    compact(handle, cluster)
    for _ in range(5):
        assert etcdctl(handle, host, "put /small yes").returncode == 0
        time.sleep(0.5)


def make_dense(handle: LabHandle, cluster: str) -> None:
    """Members are defragmented and the alarm is ended, by hand: the next writes fill what that freed."""
    for host in members(handle, cluster):
        assert etcdctl(handle, host, "defrag", seconds=30).returncode == 0
    assert etcdctl(handle, members(handle, cluster)[0], "alarm disarm").returncode == 0


def fill_with_history(handle: LabHandle, cluster: str) -> None:
    """Fills it twice: most of it is what five keys were before."""
    fill(handle, cluster)
    make_dense(handle, cluster)
    fill(handle, cluster)
    assert all(one["dbSizeInUse"] > 0.8 * QUOTA for one in statuses(handle, cluster).values())


def fill_with_keys(handle: LabHandle, cluster: str) -> None:
    """Writes 900 kB into one new key after the other until more does not fit: nothing of that is history."""
    host, enough = members(handle, cluster)[-1], (QUOTA - 2 * MIB) // 900_000 + 1
    for number in range(12):
        put = etcdctl_command(handle, host, f"put /keys/{number}-$n", seconds=20)
        script = "head -c 900000 /dev/zero | tr '\\0' x >/tmp/fill; n=0; while [ $n -lt 100 ]; do n=$((n+1)); "
        script += f"{put} </tmp/fill 2>&1 >/dev/null || break; done; rm /tmp/fill"
        assert "database space exceeded" in on_host(handle, host, script, timeout=180).stdout
        if len(etcdctl(handle, host, "get --prefix /keys/ --keys-only").stdout.split()) >= enough:
            return
        make_dense(handle, cluster)
    pytest.fail("it does not become full of keys")


def keys(handle: LabHandle, cluster: str) -> str:
    """A digest of all keys and values under /space, as each member has them."""
    found = {
        output(handle, host, f"{etcdctl_command(handle, host, 'get --prefix /space', seconds=20)} | sha256sum")
        for host in members(handle, cluster)
    }
    assert len(found) == 1
    return found.pop()


def defragmented(outcome: Outcome) -> list[str]:
    """The hosts whose database was defragmented, in order."""
    return [
        host
        for host in events_of(outcome.events, "step_finished", "defragment")
        if outcome.step(host, "defragment")["status"] == "changed"
    ]


def idle(outcome: Outcome) -> None:
    """Nothing was left to be done."""
    assert (outcome.exit_code, set(outcome.changed.values())) == (0, {0}), outcome.text


# These come first: a member that joins applies the whole raft log, and with all that the tests below write into it, its
# file would be larger than the small quota.


SERVICE = {
    "rp-sd": ("systemctl stop etcd", "systemctl start etcd"),
    "rp-rc": ("rc-service etcd stop", "rc-service etcd start"),
}


def damage(handle: LabHandle, cluster: str, host: str) -> None:
    """A value in its database becomes another one, as by a card that forgets: it starts, and serves that."""
    marker = f"good-value-{time.monotonic_ns()}"
    others = [one for one in members(handle, cluster) if one != host]
    # After some more writes, no start applies this one again.
    for key, value in (("/damaged", marker), *((f"/later/{number}", "x") for number in range(5))):
        assert etcdctl(handle, others[0], f"put {key} {value}").returncode == 0
    time.sleep(1)
    stop, start = SERVICE[cluster]
    assert on_host(handle, host, stop, timeout=120).returncode == 0
    # Not by the host's sed: busybox finds nothing in a line behind a byte that is no UTF-8, as in a revision above 127.
    file = Path(f"/proc/{hosts.init_pid(handle.plan, handle.plan.host(host))}/root/var/lib/etcd/member/snap/db")
    content, good = file.read_bytes(), marker.encode()
    assert good in content
    with file.open("r+b") as there:
        there.write(content.replace(good, good.replace(b"good", b"evil")))
    assert on_host(handle, host, start, timeout=120).returncode == 0
    wait_for("it serves again", lambda: damaged(handle, host) != "")
    assert damaged(handle, host).startswith("evil")
    assert all(damaged(handle, other) == marker for other in others)


def damaged(handle: LabHandle, host: str) -> str:
    return etcdctl(handle, host, "get /damaged --consistency=s --print-value-only").stdout.strip()


def raise_corrupt(handle: LabHandle, folder: Path, cluster: str, host: str) -> None:
    """The alarm that etcd raises when it finds this out itself."""
    member = statuses(handle, cluster)[host]["header"]["member_id"]
    number = b""
    while member:
        member, low = member >> 7, member & 127
        number += bytes([low | (128 if member else 0)])
    with channel(handle, host, client_pair(handle, folder, cluster, "root")) as connection:
        call: Any = connection.unary_unary("/etcdserverpb.Maintenance/Alarm")
        call(b"\x08\x01\x10" + number + b"\x18\x02", timeout=10)
    assert "CORRUPT" in alarms(handle, cluster)


def made_equal(handle: LabHandle, config: Path, cluster: str, bad: str, outcome: Outcome) -> None:
    """The member has what the others have, its old data are kept, and nothing is left to be done."""
    assert outcome.exit_code == 0, outcome.text
    assert alarms(handle, cluster) == ""
    assert len({damaged(handle, host) for host in members(handle, cluster)}) == 1
    assert damaged(handle, bad).startswith("good")
    assert on_host(handle, bad, "ls -d /var/lib/etcd/removed-*/member").returncode == 0
    takes_writes(handle, cluster)
    idle(repair(handle, config, cluster))


@systemd
def test_a_member_with_another_value_is_found_and_replaced_while_clients_work(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    """Its raft index and its revision are those of the others; replace_member.py alone takes it for a healthy one."""
    bad, *good = members(lab, cluster)
    pair = client_pair(lab, tmp_path, cluster, "root")
    damage(lab, cluster, bad)
    with clients_at_work(lab, pair, "damaged", good) as work:
        said = repair(lab, config, cluster, "--check")
        assert said.exit_code == 0, said.text
        assert f"{bad} on {bad} does not hold what the majority holds" in said.in_one_line
        assert damaged(lab, bad).startswith("evil")
        assert "not confirmed" in protection(repair(lab, config, cluster), cluster).what
        outcome = repair(lab, config, cluster, "--yes", "--snapshot-dir", str(tmp_path))
    print(work.story())
    assert work.violations == [], work.story()
    made_equal(lab, config, cluster, bad, outcome)


@openrc
def test_the_alarm_corrupt_is_ended_once_its_leader_is_replaced_and_a_killed_run_goes_on(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    bad = leader(lab, cluster)
    damage(lab, cluster, bad)
    raise_corrupt(lab, tmp_path, cluster, bad)
    told = concerns(lab, looked_at(lab, config, cluster), cluster)
    assert any("python runbooks/repair.py" in remedy for _, remedy in told), told
    timer = protection(repair(lab, config, cluster, "--only", "defragment", "--yes"), cluster)
    assert timer.remedy == f"python runbooks/repair.py --cluster {cluster}"
    options = ("--cluster", cluster, "--yes", "--snapshot-dir", str(tmp_path))
    running = begin_deploy(lab, *options, runbook="repair", config=config)
    wait_for("the alarm is ended", lambda: bool(events_of(running.events(), "step_finished", "alarm")), 120)
    running.kill()
    made_equal(lab, config, cluster, bad, deploy(lab, *options, "--break-lock", runbook="repair", config=config))


@both
def test_a_fragmented_database_becomes_smaller_while_clients_work(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    fragment(lab, cluster)
    hosts, led, running = members(lab, cluster), leader(lab, cluster), start_times(lab)
    pair, before = client_pair(lab, tmp_path, cluster, "root"), sizes(lab, cluster)
    assert min(before.values()) > 20 * MIB, before
    left = f"/var/lib/etcd/member/snap/db.tmp.{cluster}"
    output(lab, hosts[0], f"head -c 1048576 /dev/zero >{left}; chown etcd {left}")

    said = repair(lab, config, cluster, "--check")
    assert said.exit_code == 0, said.text
    assert all("which frees" in str(said.step(host, "defragment")["changes"]) for host in hosts), said.text
    assert sizes(lab, cluster) == before

    with clients_at_work(lab, pair, "defragmented", hosts) as work:
        outcome = repair(lab, config, cluster)
    print(work.story())
    assert outcome.exit_code == 0, outcome.text
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()

    after = sizes(lab, cluster)
    assert max(after.values()) < 10 * MIB, after
    assert defragmented(outcome)[-1] == led
    assert sorted(defragmented(outcome)) == sorted(hosts)
    assert leader(lab, cluster) != led
    assert "leadership moves to" in str(outcome.step(led, "defragment")["changes"])
    assert start_times(lab) == running, "nothing was restarted"
    assert "1.0 MiB are removed" in str(outcome.step(hosts[0], "defragment")["changes"])
    assert on_host(lab, hosts[0], f"test -e {left}").returncode != 0
    idle(repair(lab, config, cluster))


def looked_at(handle: LabHandle, config: Path, cluster: str) -> Outcome:
    return deploy(handle, "--cluster", cluster, runbook="status", config=config, timeout=120)


@systemd
def test_a_full_database_takes_writes_again_by_one_command(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    fill_with_history(lab, cluster)
    held, before = keys(lab, cluster), sizes(lab, cluster)
    told = concerns(lab, looked_at(lab, config, cluster), cluster)
    assert "python runbooks/repair.py" in told[0][1], told

    said = repair(lab, config, cluster, "--check")
    assert said.exit_code == 0, said.text
    assert "is taken away (compacted)" in said.in_one_line
    assert "not confirmed" in protection(repair(lab, config, cluster), cluster).what
    assert (sizes(lab, cluster), alarms(lab, cluster) == "") == (before, False)

    outcome = repair(lab, config, cluster, "--yes", "--snapshot-dir", str(tmp_path))
    print(outcome.stdout)
    assert outcome.exit_code == 0, outcome.text
    takes_writes(lab, cluster)
    assert keys(lab, cluster) == held
    assert max(sizes(lab, cluster).values()) < QUOTA / 2
    (snapshot,) = (tmp_path / cluster).glob("*.db")
    check_snapshot(snapshot)
    assert etcdctl(lab, members(lab, cluster)[0], "get --prefix /etcdfleet/verify/ --keys-only").stdout == ""
    assert concerns(lab, looked_at(lab, config, cluster), cluster) == []
    idle(repair(lab, config, cluster))


def takes_writes(handle: LabHandle, cluster: str) -> None:
    """No alarm stands, and a write through each member works; it leaves nothing."""
    assert alarms(handle, cluster) == ""
    assert writes(handle, cluster)
    assert etcdctl(handle, members(handle, cluster)[0], "del /space/written").returncode == 0


@pytest.mark.thorough("unit/etcd/test_space.py::test_what_makes_room", "unit/etcd/test_space.py::test_a_fifth_is_left")
@openrc
def test_history_stays_where_enough_is_free_without_that(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    """A part of it was compacted, as etcd does by itself, and nothing was written since."""
    first = members(lab, cluster)[0]
    for number in range(5):
        assert etcdctl(lab, first, f"put /few/{number} x").returncode == 0
    fill(lab, cluster)
    held = keys(lab, cluster)
    revision = statuses(lab, cluster)[first]["header"]["revision"]
    assert etcdctl(lab, first, f"compact --physical {revision - 30}").returncode == 0
    for number in range(5):
        assert etcdctl(lab, first, f"del /few/{number}").returncode == 0
        time.sleep(0.5)
    outcome = repair(lab, config, cluster, "--yes", "--snapshot-dir", str(tmp_path))
    assert outcome.exit_code == 0, outcome.text
    assert outcome.step(first, "compact")["status"] == "skipped"
    takes_writes(lab, cluster)
    assert keys(lab, cluster) == held
    assert etcdctl(lab, first, f"get /space/0 --rev {revision - 20} --keys-only").stdout.strip() == "/space/0"


@pytest.mark.thorough(
    "unit/plays/test_repair.py::test_a_run_that_was_ended_goes_on_where_it_was",
    "unit/plays/test_repair.py::test_the_alarm_stays_until_all_before_it_is_done",
    "lab/test_repair.py::test_the_alarm_corrupt_is_ended_once_its_leader_is_replaced_and_a_killed_run_goes_on",
)
@pytest.mark.parametrize(
    ("cluster", "event", "step", "hosts"),
    [
        ("rp-sd", "step_finished", "compact", 1),
        ("rp-rc", "step_started", "alarm", 1),
    ],
    indirect=["cluster"],
)
def test_a_repair_that_was_killed_is_finished_by_the_next_one(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str, event: str, step: str, hosts: int
) -> None:
    fill_with_history(lab, cluster)
    held = keys(lab, cluster)
    options = ("--cluster", cluster, "--yes", "--snapshot-dir", str(tmp_path))
    running = begin_deploy(lab, *options, runbook="repair", config=config)
    end = time.monotonic() + 120
    while len(events_of(running.events(), event, step)) < hosts:
        assert time.monotonic() < end, running.events()
        time.sleep(0.02)
    running.kill()
    outcome = deploy(lab, *options, "--break-lock", runbook="repair", config=config)
    assert outcome.exit_code == 0, outcome.text
    takes_writes(lab, cluster)
    assert keys(lab, cluster) == held
    assert max(sizes(lab, cluster).values()) < QUOTA / 2
    idle(repair(lab, config, cluster))


@pytest.mark.thorough(
    "unit/plays/test_repair.py::test_data_that_do_not_fit_keep_the_alarm",
    "unit/etcd/test_space.py::test_where_it_does_not_fit_the_next_command_is_said",
)
@systemd
def test_what_does_not_fit_is_said_and_deleting_helps(
    lab: LabHandle, config: Path, tmp_path: Path, cluster: str
) -> None:
    fill_with_keys(lab, cluster)
    options = ("--yes", "--snapshot-dir", str(tmp_path))
    refused = protection(repair(lab, config, cluster, *options), cluster)
    assert "what is in use does not fit the quota" in refused.what
    assert "raise cluster.quota_bytes to 128MiB or more and run deploy: all hosts bear it" in refused.remedy
    assert "NOSPACE" in alarms(lab, cluster), "it stays"
    assert etcdctl(lab, members(lab, cluster)[0], "del --prefix /keys/").returncode == 0
    outcome = repair(lab, config, cluster, *options)
    assert outcome.exit_code == 0, outcome.text
    takes_writes(lab, cluster)
    assert max(sizes(lab, cluster).values()) < QUOTA / 2
