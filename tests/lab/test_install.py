"""Another etcd on a live cluster: a version that there is not, one below the cluster's, and one that is newer.

The tests follow each other on the same hosts, as a person's attempts would. Where a docstring says "before", it is what
deploy did at first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import apkrepo, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.watch import stored, watching

UP = ("up-1", "up-2", "up-3")
AL = "al-1"
KEYS = 20
PENDING = "/run/etcdfleet/restart-pending"
SYSTEMD_ENDS = "systemctl show etcd.service -p NRestarts --value"


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Two deployed clusters, by apt and by apk, with data."""
    with own_lab("i-install", TOPOLOGIES / "install.yaml") as handle:
        outcome = deploy(handle)
        assert outcome.exit_code == 0, outcome.text
        for host in (UP[0], AL):
            for number in range(1, KEYS + 1):
                assert etcdctl(handle, host, f"put install/{number} {number}").returncode == 0
        yield handle


def by(handle: LabHandle, tmp_path: Path, hosts: tuple[str, ...], **install: Any) -> Path:
    """A configuration in which these hosts have the keys of ``install`` besides those of their group."""

    def edit(files: dict[str, Any]) -> None:
        for host in hosts:
            files["inventory/hosts.yaml"][host]["data"]["install"] = install

    return inventory_variant(handle, tmp_path, edit)


def by_archive(handle: LabHandle, tmp_path: Path, hosts: tuple[str, ...], **changes: str) -> Path:
    release = releases.find(apkrepo.content())
    source = {"url": release.url(apkrepo.base_url(handle.plan)), "sha256": release.sha256}
    return by(
        handle,
        tmp_path,
        hosts,
        **{"method": "archive", "version": release.version, "source": {release.architecture: source}, **changes},
    )


def version(handle: LabHandle, host: str) -> str:
    """What the member on the host says that it runs; empty while it does not answer."""
    done = etcdctl(handle, host, "endpoint status -w json")
    return str(json.loads(done.stdout)[0]["Status"]["version"]) if done.returncode == 0 else ""


def pending(handle: LabHandle) -> dict[str, str]:
    return {host: on_host(handle, host, f"cat {PENDING}").stdout for host in (*UP, AL)}


NOTHING_PENDING: Mapping[str, str] = dict.fromkeys((*UP, AL), "")


def test_a_version_that_there_is_not_costs_nothing(lab: LabHandle, tmp_path: Path) -> None:
    """`install.version: 9.9`, by apt and by apk, and taken out again.

    Before, `--check` said that all could be done, and the failed run left a note by which the next one restarted every
    member.
    """
    before = start_times(lab)
    config, asked = by(lab, tmp_path, (*UP, AL), version="9.9"), (UP[0], AL)
    for arguments in (("--check",), ()):
        outcome = deploy(lab, "--limit", ",".join(asked), *arguments, config=config)
        assert outcome.exit_code == 1, outcome.text
        for host in asked:
            said = outcome.error(host)
            assert said.startswith("preflight"), said
            assert "9.9" in said, said
        assert "Version '9.9' for 'etcd-server' was not found" in outcome.error(UP[0])
    assert pending(lab) == NOTHING_PENDING
    again = deploy(lab)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
    assert start_times(lab) == before


def test_a_note_without_a_change_restarts_nobody(lab: LabHandle) -> None:
    """The note that a failed installation of an older release left: the program is still the one that runs.

    Before, it cost a rolling restart.
    """
    before = start_times(lab)
    for host in (*UP, AL):
        output(lab, host, f"mkdir -p /run/etcdfleet; echo 'etcd was installed anew' > {PENDING}")
    outcome = deploy(lab)
    assert outcome.exit_code == 0, outcome.text
    assert start_times(lab) == before
    for host in (*UP, AL):
        output(lab, host, f"rm {PENDING}")


@pytest.mark.thorough(
    "unit/tasks/test_programs.py::test_why_a_restart_is_due",
    "unit/tasks/test_programs.py::test_the_file_of_the_running_program_is_found",
    "lab/test_install.py::test_an_upgrade_takes_place_when_it_is_a_members_turn",
)
def test_a_program_that_was_replaced_is_started(lab: LabHandle) -> None:
    """An upgrade by hand has put another file in the program's place, and etcd still runs the old one."""
    before = start_times(lab)
    for host in (UP[1], AL):
        output(lab, host, "cp -p /usr/bin/etcd /usr/bin/.new && mv -f /usr/bin/.new /usr/bin/etcd")
    outcome = deploy(lab, "--yes")
    assert outcome.exit_code == 0, outcome.text
    after = start_times(lab)
    assert {host for host in after if after[host] != before[host]} == {UP[1], AL}
    again = deploy(lab)
    assert again.changed == dict.fromkeys(again.changed, 0), again.text


def held(handle: LabHandle) -> dict[str, str]:
    found = {host: output(handle, host, "apt-mark showhold").strip() for host in UP}
    return {**found, AL: output(handle, AL, "grep -x 'etcd\\(=.*\\)*' /etc/apk/world").strip()}


def test_a_pinned_version_is_held(lab: LabHandle, tmp_path: Path) -> None:
    """`install.version` with what is installed: held, by the package manager's own means, until it is taken out again.

    What a person has held stays so. Nobody is restarted. Before, an upgrade of the system went past the pin.
    """
    before = start_times(lab)
    both = "etcd-client\netcd-server"
    output(lab, UP[2], "apt-mark hold etcd-server etcd-client")
    package = output(lab, UP[0], "dpkg-query -W -f '${Version}' etcd-server").strip()

    def pin(files: dict[str, Any]) -> None:
        for host in UP:
            files["inventory/hosts.yaml"][host]["data"]["install"] = {"version": package}
        files["inventory/hosts.yaml"][AL]["data"]["install"] = {"version": f"{releases.version()}-r0"}

    config = inventory_variant(lab, tmp_path, pin)
    checked = deploy(lab, "--check", config=config)
    assert checked.exit_code == 0, checked.text
    assert "restarted" not in checked.stdout
    outcome = deploy(lab, config=config)
    assert outcome.exit_code == 0, outcome.text
    assert held(lab) == {**dict.fromkeys(UP, both), AL: f"etcd={releases.version()}-r0"}
    output(lab, UP[0], "apt-get -s upgrade")
    released = deploy(lab)
    assert released.exit_code == 0, released.text
    assert held(lab) == {UP[0]: "", UP[1]: "", UP[2]: both, AL: "etcd"}
    assert start_times(lab) == before
    output(lab, UP[2], "apt-mark unhold etcd-server etcd-client")


def test_an_upgrade_takes_place_when_it_is_a_members_turn(lab: LabHandle, tmp_path: Path) -> None:
    """3.4.23 by apt becomes 3.5.1 from a release archive. A fault stops the first attempt at the first member's turn.

    Meanwhile one member crashes and another's host loses its power: both come back with the program that they had.
    Before, all hosts got the new program and unit at once, and both came back with it, past every gate.
    """
    config = by_archive(lab, tmp_path, UP)
    before = start_times(lab)
    for host in UP:
        output(lab, host, "mv /usr/local/bin /usr/local/bin.away && touch /usr/local/bin")
    outcome = deploy(lab, "--cluster", "up", config=config)
    assert outcome.exit_code == 1, outcome.text
    assert [host for host in UP if outcome.error(host).startswith("start: ")], outcome.text
    assert start_times(lab) == before
    status = deploy(lab, "--cluster", "up", runbook="status", config=config)
    assert status.report, status.text

    output(lab, UP[1], "systemctl kill -s KILL etcd.service")
    lab.stop(UP[2])
    lab.start(UP[2])
    wait_for("both are back", lambda: unhealthy(lab, "up") == "")
    assert {host: version(lab, host) for host in UP} == dict.fromkeys(UP, "3.4.23")
    for host in UP:
        assert "3.4.23" in output(lab, host, "/usr/bin/etcdctl version; etcdctl version").replace("\n", " ")
        output(lab, host, "rm /usr/local/bin && mv /usr/local/bin.away /usr/local/bin")

    with watching(lab, list(UP)) as watch:
        outcome = deploy(lab, "--cluster", "up", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert watch.most_down <= 1, f"down at the same time: {watch.down}"
    assert {host: version(lab, host) for host in UP} == dict.fromkeys(UP, releases.version())
    for host in UP:
        assert stored(lab, host, "install") == {number: str(number) for number in range(1, KEYS + 1)}
        assert outcome.host(host)["facts"]["version"] == releases.version()
        assert f"etcdctl version: {releases.version()}" in output(lab, host, "etcdctl version")
    again = deploy(lab, "--cluster", "up", config=config)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text


INSTALLED = (
    "for p in /usr/bin/etcd /usr/local/bin/etcd /etc/systemd/system/etcd.service /etc/etcd/conf.yml; do "
    "readlink -f $p; stat -L -c '%i %s %Z' $p; done; dpkg-query -W etcd-server etcd-client; apt-mark showhold"
)


def test_a_downgrade_by_the_inventory_is_refused(lab: LabHandle) -> None:
    """Back from the archive's 3.5.1 to apt's 3.4.23, whether its packages are still there or not.

    Before, programs and units were replaced on all hosts, the first member died at its restart ("invalid downgrade"),
    and the others would have died at their next start.
    """
    # Its maintainer script stops the service of that name, which is ours.
    output(lab, UP[2], "apt-get remove -qq -y etcd-server etcd-client; systemctl start etcd.service")
    wait_for("it is back", lambda: unhealthy(lab, "up") == "")
    before, installed = start_times(lab), {host: output(lab, host, INSTALLED + "; true") for host in UP}
    for arguments in (("--check",), ()):
        outcome = deploy(lab, "--cluster", "up", *arguments)
        assert outcome.exit_code == 3, outcome.text
        (refused,) = outcome.report["protections"]
        for part in ("etcd 3.4.23", "up-1, up-2, up-3", f"the cluster runs {releases.version()}", "(3.5)"):
            assert part in refused["what"], refused
        assert "install.method" in refused["remedy"]
    assert start_times(lab) == before
    assert {host: output(lab, host, INSTALLED + "; true") for host in UP} == installed
    output(lab, UP[1], "systemctl restart etcd.service")
    wait_for("it is back", lambda: unhealthy(lab, "up") == "")
    assert version(lab, UP[1]) == releases.version()


@pytest.mark.thorough(
    "unit/tasks/test_programs.py::test_an_archive_that_does_not_fit_is_not_installed",
    "lab/test_stages.py::test_archive_with_a_wrong_checksum_changes_nothing",
)
def test_an_archive_of_another_version_than_it_is_said_to_be(lab: LabHandle, tmp_path: Path) -> None:
    """install.version says 3.5.2, and the archive holds 3.5.1: seen on the host before anything is replaced."""
    before = start_times(lab)
    outcome = deploy(lab, "--cluster", "al", config=by_archive(lab, tmp_path, (AL,), version="3.5.2"))
    assert outcome.exit_code == 1, outcome.text
    assert "holds another version than 3.5.2: etcd Version: 3.5.1" in outcome.error(AL)
    assert start_times(lab) == before
    assert on_host(lab, AL, "ls /usr/local/bin/etcd").returncode != 0


def test_the_same_version_another_way(lab: LabHandle, tmp_path: Path) -> None:
    """apk's 3.5.1 becomes the archive's, and apk's again: each time the etcd and etcdctl that are found first."""
    there = "readlink /proc/$(pgrep -o -f '^[^ ]*etcd --config-file')/exe; command -v etcdctl"
    for config, place in ((by_archive(lab, tmp_path, (AL,)), "/usr/local"), (None, "/usr/bin")):
        outcome = deploy(lab, "--cluster", "al", "--yes", config=config)
        assert outcome.exit_code == 0, outcome.text
        program, ctl = output(lab, AL, there).split()
        assert program.startswith(place), program
        assert ctl.startswith(place), ctl
        # Owner and mode are the host's business, not those of whoever packed the archive.
        assert output(lab, AL, f"stat -Lc '%a %U %G' {program}").split() == ["755", "root", "root"]
        assert stored(lab, AL, "install") == {number: str(number) for number in range(1, KEYS + 1)}
    assert members(lab, "al") == [AL]


@pytest.mark.parametrize(
    ("host", "ends"),
    [
        (UP[1], SYSTEMD_ENDS),
        pytest.param(
            AL,
            "cat /run/openrc/options/etcd/start_count",
            marks=pytest.mark.thorough("unit/tasks/test_start.py::test_a_wait_that_cannot_end_well_ends_early"),
        ),
    ],
)
def test_a_crash_loop_ends_the_wait(lab: LabHandle, tmp_path: Path, host: str, ends: str) -> None:
    """etcd may not read its data, and ends at once at each start: the run says so after the fourth end.

    Before, under systemd 38 ends within 180 s were missed, since each was over before anybody looked.
    """
    cluster = lab.plan.host(host).cluster or ""
    config = by_archive(lab, tmp_path, UP)
    output(lab, host, f"chown -R root /var/lib/etcd/member; mkdir -p /run/etcdfleet; echo test > {PENDING}")
    outcome = deploy(lab, "--cluster", cluster, "--yes", config=config)
    counted = int(output(lab, host, ends))
    assert outcome.exit_code == 1, outcome.text
    said = outcome.error(host)
    assert said.startswith("start: etcd ended 4 times in a row soon after its start"), said
    assert "permission denied" in said, said
    assert "stacktrace" not in said, said
    assert 4 <= counted < 20, counted
    output(lab, host, "chown -R etcd /var/lib/etcd/member")
    mended = deploy(lab, "--cluster", cluster, "--yes", config=config)
    assert mended.exit_code == 0, mended.text
    assert unhealthy(lab, cluster) == ""


@pytest.mark.thorough(
    "unit/tasks/test_start.py::test_a_wait_that_cannot_end_well_ends_early",
)
def test_what_the_init_system_says_is_said(lab: LabHandle) -> None:
    """OpenRC cannot start etcd, since its program is gone. Before, that was "not healthy within 180 s", at once."""
    output(lab, AL, f"mv /usr/bin/etcd /usr/bin/.away; mkdir -p /run/etcdfleet; echo test > {PENDING}")
    outcome = deploy(lab, "--cluster", "al", "--yes")
    assert outcome.exit_code == 1, outcome.text
    said = outcome.error(AL)
    assert "openrc could not start etcd" in said, said
    assert "/usr/bin/etcd does not exist" in said, said
    output(lab, AL, "mv /usr/bin/.away /usr/bin/etcd")
    mended = deploy(lab, "--cluster", "al", "--yes")
    assert mended.exit_code == 0, mended.text
