"""What ``status.py`` says of clusters that are sound, and in words of each thing that is not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lab import faketime
from lab.state import PROJECT
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    Outcome,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import traces
from tests.unit.support.fake_run import SCHEMA

NO_VAULT = {"VAULT_ADDR": None, "VAULT_TOKEN": None, "VAULT_CACERT": None}
SD, RC = "s-sd", "s-rc"
CONF = "/etc/etcd/conf.yml"


def status(handle: LabHandle, *args: str, config: Path | None = None) -> Outcome:
    """A run of status without any variable of Vault; it has a report, since the folder for it is named."""
    outcome = deploy(handle, *args, runbook="status", env=NO_VAULT, config=config, timeout=120)
    assert "Traceback" not in outcome.stdout + outcome.stderr, outcome.text
    jsonschema.validate(outcome.report, SCHEMA)
    return outcome


def sentences(text: str) -> list[str]:
    """The sentences below the tables, lines joined again: ``BROKEN hosts: what remedy: …``."""
    found: list[str] = []
    for line in text.splitlines():
        if re.match(r"  (BROKEN|unknown|wrong|soon) ", line):
            found.append(" ".join(line.split()))
        elif found and line.startswith(" " * 10):
            found[-1] += " " + " ".join(line.split())
    return found


def said(outcome: Outcome, level: str, host: str, what: str) -> str:
    """The one sentence of this level about a host, with these words and a remedy."""
    mine = [
        text for text in sentences(outcome.stdout) if text.startswith(f"{level} ") and host in text and what in text
    ]
    assert len(mine) == 1, f"{level} {host} {what!r}: {mine}\n{outcome.text}"
    assert "remedy: " in mine[0], mine
    return mine[0]


def heading(outcome: Outcome, cluster: str) -> str:
    lines = outcome.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{cluster}  "))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith("  host"))
    return " ".join(" ".join(lines[start:end]).split())


def row(outcome: Outcome, host: str) -> list[str]:
    return next(line.split() for line in outcome.stdout.splitlines() if line.startswith(f"  {host} "))


def leader_of(handle: LabHandle, cluster: str) -> str:
    """The host of a cluster's leader, as etcdctl has it."""
    for host in members(handle, cluster):
        done = etcdctl(handle, host, "endpoint status -w json")
        answers = json.loads(done.stdout or "[]")
        if answers and answers[0]["Status"].get("leader") == answers[0]["Status"]["header"]["member_id"]:
            return host
    return ""


def sound(handle: LabHandle, *clusters: str) -> None:
    for cluster in clusters:
        wait_for(f"{cluster} is sound", lambda cluster=cluster: not unhealthy(handle, cluster), every=1)  # type: ignore[misc]


def untouched(handle: LabHandle) -> dict[str, list[str]]:
    """What a deploy could change on a host of each kind, without the database: its log grows by itself."""
    found = {host: traces(handle, host) for host in ("s-sd-1", "s-rc-1")}
    return {host: [line for line in lines if "/var/lib/etcd/" not in line] for host, lines in found.items()}


@contextmanager
def pages(handle: LabHandle, *args: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """status --watch on a pipe, as a person starts it, and the file with its pages."""
    out = handle.dir / "watched"
    argv = ["env", "--default-signal=INT", sys.executable, str(PROJECT / "runbooks" / "status.py"), "--watch", "1"]
    argv += ["--config", str(handle.dir / "config.yaml"), *args]
    with out.open("w") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            yield process, out
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def last_page(out: Path) -> str:
    """The last page that is whole."""
    whole = re.split(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, every .*$", out.read_text(), flags=re.MULTILINE)
    return whole[-2] if len(whole) > 2 else ""


def one_line(page: str) -> str:
    """A page's words without the line breaks, which may be anywhere in a sentence."""
    return " ".join(page.split())


def test_sound_clusters_without_vault(sight: LabHandle) -> None:
    sound(sight, SD, RC)
    before = untouched(sight)
    reports = set((PROJECT / "reports").glob("*-status"))
    outcome = status(sight)
    assert outcome.exit_code == 0, outcome.text
    for cluster in (SD, RC):
        assert "3 of 3 members serve, can lose 1" in heading(outcome, cluster), outcome.text
        assert f"leader {leader_of(sight, cluster)};" in heading(outcome, cluster), outcome.text
        for host in members(sight, cluster):
            facts = outcome.host(host)["facts"]
            own = json.loads(etcdctl(sight, host, "endpoint status -w json").stdout)[0]["Status"]
            assert (facts["state"], facts["drift"], facts["alarms"]) == ("serves", [], []), facts
            assert facts["version"] == own["version"], facts
            assert facts["member_id"] == f"{own['header']['member_id']:x}", facts
            assert facts["raft_term"] == own["raftTerm"], facts
            assert 0 < facts["raft_index"] <= own["raftIndex"], facts
            assert facts["ssh_round_trips"] == 1, facts
            assert set(facts["certificates"]) == {"peer", "server", "client"}, facts
            assert all(pair["days_left"] > 1000 and not pair["due"] for pair in facts["certificates"].values()), facts
            assert row(outcome, host)[1] == "serves", outcome.text
            assert "ok" in row(outcome, host), outcome.text
    assert not [text for text in sentences(outcome.stdout) if not text.startswith("soon")], outcome.text
    assert all(len(line) <= 80 for line in outcome.stdout.splitlines()), outcome.text
    assert "\x1b" not in outcome.stdout
    assert untouched(sight) == before

    # What a program gets, and that nothing is left behind where no folder was named.
    argv = [sys.executable, str(PROJECT / "runbooks" / "status.py"), "--config", str(sight.dir / "config.yaml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAULT_")}
    environment["VAULT_ADDR"] = "https://127.0.0.1:9"
    done = subprocess.run(
        [*argv, "--json", "-"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    # Empty, but for what a busy machine makes slow: the other tests run beside this one.
    assert not done.stderr or "  soon " in done.stderr, done.stderr
    assert not [text for text in sentences(done.stderr) if not text.startswith("soon")], done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["run_started", "run_finished"]
    assert {facts["cluster_can_lose"] for facts in events[-1]["facts"].values()} == {1}
    assert set((PROJECT / "reports").glob("*-status")) == reports


@contextmanager
def no_election(handle: LabHandle, hosts: list[str]) -> Iterator[None]:
    """Members that wait 50 s, etcd's longest, before they hold an election: what is true without a leader stays so."""
    lines = {time: f"sed -i 's/^election-timeout: .*/election-timeout: {time}/' {CONF}" for time in (50000, 5000)}
    for host in hosts:
        assert "election-timeout: 5000\n" in output(handle, host, f"cat {CONF}")
        output(handle, host, f"{lines[50000]}; systemctl restart etcd.service")
        sound(handle, SD)
    try:
        yield
    finally:
        # KILL: without a leader etcd 3.4 does not end when it is asked to. No waiting: it is ready with a quorum only.
        for host in hosts:
            output(
                handle, host, f"{lines[5000]}; systemctl kill -s KILL etcd.service; systemctl restart --no-block etcd"
            )


KILL = "systemctl kill -s KILL etcd.service; systemctl stop etcd.service"
"""A leader that is stopped in order hands over first."""


@pytest.mark.thorough(
    "unit/checks/test_overview.py::test_margin_leader_and_the_sentence",
    "unit/checks/test_overview.py::test_a_lost_leader_has_its_name_without_a_member_list",
    "unit/plays/test_status.py::test_a_leader_whose_host_is_silent_is_asked_about_again",
    "unit/tasks/status/test_describe.py::test_recorded_answers",
    "lab/test_status.py::test_a_host_without_power_and_the_leader_killed",
)
def test_a_leader_just_lost_while_no_other_is_elected(sight: LabHandle) -> None:
    sound(sight, SD, RC)
    leader = leader_of(sight, SD)
    others = [host for host in members(sight, SD) if host != leader]
    with pages(sight) as (process, out):
        wait_for("a page of watch", lambda: last_page(out).count("can lose 1") == 2)
        try:
            with no_election(sight, others):
                assert leader_of(sight, SD) == leader
                output(sight, leader, KILL)
                lost = f"leader just lost: {leader} does not answer"
                wait_for("watch shows it", lambda: lost in one_line(last_page(out)), timeout=40)
                electing = status(sight, "--cluster", SD)
            wait_for("another leader", lambda: leader_of(sight, SD) in others, every=1)
        finally:
            output(sight, leader, "systemctl start etcd.service")
            sound(sight, SD, RC)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0, out.read_text()
    assert electing.exit_code == 1, electing.text
    sentence = said(electing, "BROKEN", others[0], lost)
    assert "no reads or writes meanwhile" in sentence, sentence


def test_a_host_without_power_and_the_leader_killed(sight: LabHandle) -> None:
    sound(sight, SD, RC)
    leader, dead = leader_of(sight, SD), next(h for h in members(sight, RC) if h != leader_of(sight, RC))
    others = [host for host in members(sight, SD) if host != leader]
    with pages(sight) as (process, out):
        wait_for("a page of watch", lambda: last_page(out).count("can lose 1") == 2)
        try:
            output(sight, leader, KILL)
            wait_for("another leader", lambda: leader_of(sight, SD) in others, every=1)
            sight.stop(dead)
            outcome = status(sight)
            quiet = status(sight, "--quiet", "--cluster", SD)
            wait_for("watch shows it", lambda: "cannot be reached by SSH" in one_line(last_page(out)))
        finally:
            sight.start(dead)
            output(sight, leader, "systemctl start etcd.service")
            sound(sight, SD, RC)
        # The host is there again: so is its row, over a new connection.
        wait_for("watch shows them again", lambda: last_page(out).count("can lose 1") == 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0, out.read_text()
    assert "Traceback" not in out.read_text()

    assert outcome.exit_code == 1, outcome.text
    said(outcome, "BROKEN", leader, "etcd does not run there")
    said(outcome, "BROKEN", dead, "cannot be reached by SSH")
    assert row(outcome, dead)[1] == "down", outcome.text
    assert row(outcome, leader)[1] == "stopped", outcome.text
    for cluster, lost in ((SD, leader), (RC, dead)):
        assert "2 of 3 members serve, can lose none" in heading(outcome, cluster), outcome.text
        said(outcome, "wrong", lost, "one more lost member stops the cluster")
    assert sorted(outcome.failed) == sorted([leader, dead]), outcome.text
    assert "cannot be reached" in outcome.error(dead), outcome.text

    assert quiet.exit_code == 1, quiet.text
    assert quiet.stdout.startswith("s-sd  2 of 3 members serve, can lose none"), quiet.text
    assert "  host" not in quiet.stdout, quiet.text


def test_a_certificate_near_its_end_a_drifted_file_and_a_wrong_clock(sight: LabHandle, tmp_path: Path) -> None:
    sound(sight, SD, RC)
    ends, drifted, late = "s-sd-1", "s-sd-2", "s-rc-1"

    def short(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"][SD]["data"]["pki"]["roles"]["client"]["ttl"] = "72h"

    renew = ["--force", "--only", "client", "--limit", ends, "--yes"]
    config = inventory_variant(sight, tmp_path, short)
    assert deploy(sight, *renew, runbook="rotate_certs", config=config).exit_code == 0
    kept = output(sight, drifted, f"cat {CONF}")
    try:
        output(sight, drifted, f"printf '# by hand\\n' >> {CONF}")
        faketime.set(sight.plan, sight.plan.host(late), "-90s")
        outcome = status(sight, "--diff")
        near = status(sight, "--limit", ends)
    finally:
        faketime.clear(sight.plan, sight.plan.host(late))
        on_host(sight, drifted, f"cat > {CONF} <<'EOF'\n{kept}EOF")
        renewed = deploy(sight, *renew, runbook="rotate_certs")
    assert renewed.exit_code == 0, renewed.text

    assert outcome.exit_code == 1, outcome.text
    assert f"{CONF} differs" in said(outcome, "wrong", drifted, "from what deploy would write")
    assert "-# by hand" in outcome.stdout, outcome.text
    assert "behind" in said(outcome, "wrong", late, "its clock is"), outcome.text
    assert outcome.host(late)["facts"]["clock_offset_seconds"] < -60, outcome.text
    assert "3.0 days" in said(outcome, "soon", ends, "the client certificate ends in"), outcome.text
    assert sorted(outcome.failed) == sorted([drifted, late]), outcome.text

    # What is only near is said, and no failure.
    assert near.exit_code == 0, near.text
    said(near, "soon", ends, "the client certificate ends in")
    assert "2 of 3 members not looked at" in heading(near, SD), near.text
    final = status(sight)
    assert final.exit_code == 0, final.text
