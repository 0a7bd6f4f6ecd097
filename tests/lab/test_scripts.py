"""Tasks in a script of one's own, and Nornir's own ways to set things, on real hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from lab.state import PROJECT
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import deploy, output, unhealthy, wait_for
from tests.unit.docs.test_tasks import readme_script

LOOKS = """
from pathlib import Path
from etcdfleet.settings.load import open_nornir
from tasks import configure, install, planning, preflight, start
from tasks.auth import converge
from tasks.certificates import place, trust
from tasks.verify import deep, member

tasks = [preflight.preflight, install.install, place.certificates, configure.configure, start.keep_running]
tasks += [planning.read_member, planning.is_settled, trust.trust_state, converge.read_access, converge.prove_access]
todo = [(task, {}) for task in tasks] + [(member.verify, {}), (member.verify, {'deep': deep.Deep()})]
for task, arguments in todo:
    # Each with a Nornir of its own: none may live on what another has left.
    nornir, fleet = open_nornir(Path("config.yaml"))
    results = nornir.filter(name="{host}").run(task=task, **arguments)
    print(f"{task.__module__}.{task.__name__}", {name: (r.failed, r.changed) for name, r in results.items()})
    for result in results.values():
        print(result.exception or "")
    nornir.close_connections()
"""


def script(handle: LabHandle, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=handle.dir,
        env={**os.environ, **handle.env, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_the_script_of_the_readme(sight: LabHandle) -> None:
    cluster = sight.plan.clusters[0].name
    said = script(sight, readme_script().replace("k8s-home", cluster))
    hosts = [host.name for host in sight.plan.hosts if host.cluster == cluster]
    assert re.findall(r"^(\S+): ", said, re.MULTILINE) == hosts
    assert len(said.splitlines()) == len(hosts), "a line for each"
    assert "a synced write takes" in said or "amd64" in said


def test_tasks_alone_on_a_host_that_is_as_wanted(sight: LabHandle) -> None:
    (*_, host) = (host.name for host in sight.plan.hosts)
    # What other tests have left in etcd's log is a symptom to verify, until the next start.
    output(sight, host, "rc-service etcd restart")
    cluster = sight.plan.host(host).cluster or ""
    wait_for(f"{cluster} is healthy", lambda: unhealthy(sight, cluster) == "")
    lines = [line for line in script(sight, LOOKS.replace("{host}", host)).splitlines() if line.startswith("tasks.")]
    assert len(lines) == 12
    assert [line for line in lines if not line.endswith(f"{{'{host}': (False, False)}}")] == []


MIXED = """
from pathlib import Path

from nornir_netmiko.tasks import netmiko_send_command

from etcdfleet.settings.load import open_nornir
from tasks.planning import read_member

nornir, _ = open_nornir(Path("config.yaml"))
host = nornir.filter(name="{host}")
turns = ((read_member, {{}}), (netmiko_send_command, {{"command_string": "hostname"}}), (read_member, {{}}))
for task, arguments in turns:
    (found,) = host.run(task=task, **arguments).values()
    print(found.failed, found[0].exception or "", str(found[0].result).split()[-1])
nornir.close_connections()
"""


def test_tasks_of_netmiko_and_ours_share_a_connection(sight: LabHandle) -> None:
    for cluster in sight.plan.clusters:
        host = next(host.name for host in sight.plan.hosts if host.cluster == cluster.name)
        lines = script(sight, MIXED.format(host=host)).splitlines()
        assert [line.split()[0] for line in lines] == ["False", "False", "False"], lines
        assert host in lines[1]


@pytest.mark.thorough(
    "unit/program/test_nornir_habits.py::test_variables_count_where_the_file_is_silent",
    "unit/program/test_nornir_habits.py::test_runners",
    "unit/plays/test_program.py::test_no_more_hosts_are_worked_on_at_once_than_there_are_workers",
)
def test_a_serial_runner_by_variable(sight: LabHandle) -> None:
    """One host after the other: at no time two at work, and with the same end."""
    config = sight.dir / "serial.yaml"
    text = (sight.dir / "config.yaml").read_text()
    config.write_text(re.sub(r"^runner:\n(?:[ #].*\n)+", "", text, flags=re.MULTILINE))
    assert "runner:" not in config.read_text()
    cluster = sight.plan.clusters[0].name
    outcome = deploy(sight, "--cluster", cluster, config=config, env={"NORNIR_RUNNER_PLUGIN": "serial"})
    assert outcome.exit_code == 0, outcome.text
    assert outcome.changed == dict.fromkeys(outcome.changed, 0)
    at_work: set[str] = set()
    most = 0
    for event in outcome.events:
        if event["event"] == "step_started":
            at_work.add(event["host"])
        elif event["event"] == "step_finished":
            at_work.discard(event["host"])
        most = max(most, len(at_work))
    assert most == 1
