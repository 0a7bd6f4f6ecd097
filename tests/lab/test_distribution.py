"""A person upgrades the distribution of a host, whose packages bring another minor version of etcd by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import TOPOLOGIES, deploy, etcdctl, members, output, own_lab, start_times, unhealthy

OLD, NEW = "3.4.23", "3.5.16"
DIST = "dist"


@pytest.fixture(scope="module", name="lab")
def _lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-distribution", TOPOLOGIES / "distribution.yaml") as handle:
        first = deploy(handle, timeout=600)
        assert first.exit_code == 0, first.text
        yield handle


def become_debian_13(handle: LabHandle, host: str) -> None:
    """What of ``apt full-upgrade`` touches etcd: other sources, and its packages from there. dpkg restarts it."""
    output(
        handle,
        host,
        "export DEBIAN_FRONTEND=noninteractive; sed -i s/bookworm/trixie/ /etc/apt/sources.list.d/* && "
        "apt-get -q update && apt-get -q -y -o Dpkg::Options::=--force-confold install etcd-server etcd-client",
        timeout=300,
    )


def versions(handle: LabHandle) -> list[str]:
    """What the members run, in the order of the inventory."""
    found = []
    for host in members(handle, DIST):
        done = etcdctl(handle, host, "endpoint status -w json")
        assert done.returncode == 0, done.stderr
        found.append(str(json.loads(done.stdout)[0]["Status"]["version"]))
    return found


def test_one_host_becomes_debian_13_and_then_the_others(lab: LabHandle) -> None:
    *others, first = members(lab, DIST)
    become_debian_13(lab, first)
    assert versions(lab) == [OLD, OLD, NEW]
    assert unhealthy(lab, DIST) == ""
    told, running = f"{OLD} on {', '.join(others)}; {NEW} on {first}", start_times(lab)
    looked = deploy(lab, runbook="status")
    assert f"members run different versions ({OLD}, {NEW})" in looked.in_one_line
    assert f"{first}: /etc/etcd/conf.yml differs from what deploy would write" in looked.in_one_line
    looked = deploy(lab, runbook="verify")
    assert (looked.exit_code, looked.failed) == (1, [first]), looked.text
    assert told in looked.in_one_line

    mended = deploy(lab)  # the configuration for that version, which counts from the next start on
    assert mended.exit_code == 0, mended.text
    assert told in json.dumps(mended.report["warnings"]), mended.text
    assert start_times(lab) == running
    for runbook in ("status", "verify", "deploy"):
        again = deploy(lab, runbook=runbook)
        assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
        assert "install.method: archive" in again.in_one_line, again.text
    planned = deploy(lab, "--check", runbook="upgrade")
    assert planned.exit_code == 3, planned.text
    assert f"({others[0]}: {OLD}, {others[1]}: {OLD}, {first}: {NEW})" in planned.in_one_line

    for host in others:
        become_debian_13(lab, host)
    assert versions(lab) == [NEW] * 3
    last = deploy(lab)
    assert last.exit_code == 0, last.text
    for runbook in ("status", "deploy"):
        again = deploy(lab, runbook=runbook)
        assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
        assert "install.method: archive" not in again.in_one_line
