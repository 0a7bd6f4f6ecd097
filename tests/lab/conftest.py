"""Real hosts for the lab tests. ``ETCDFLEET_NO_LAB=1`` skips them; without root they fail and say why."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import state
from lab.state import PROJECT, Lab
from tests.lab import starter

if TYPE_CHECKING:
    from tests.lab.deploy_helpers import Outcome


SESSION_LABS = {"lab": "test", "sight": "test-sight", "pair": "test-pair"}
"""Fixtures with a lab for all files that use them, and its name; a file may have a ``lab`` of its own instead."""
TOGETHER = {
    # With a host of 32-bit ARM, whose programs are emulated and slow: for what is proven on each kind of host.
    "lab": ("test_deploy", "test_keys", "test_lab"),
    "sight": (
        *("test_bench", "test_cis", "test_logins", "test_matrix", "test_preflight"),
        *("test_revoke", "test_scripts", "test_status", "test_verify"),
    ),
    # In this order: the clusters of the first get the CAs with which those of the second begin.
    "pair": ("test_trust", "test_rotate", "test_rolling"),
    "rotate-faults": ("test_rotate_faults", "test_rotate_faults_ca"),
}
"""Files that must not run side by side, since they share hosts or names of hosts, in the order in which they run."""
SECONDS = {
    "test_members": 305,
    "test_versions": 285,
    "test_restore": 260,
    "test_rotate": 180,
    "test_repair": 175,
    "test_restored": 160,
    "test_install": 150,
    "test_deploy": 145,
    "test_rotate_faults": 115,
    "test_bench": 105,
    "test_damage": 90,
    "test_upgrade": 90,
    "test_auth": 85,
    "test_nospace": 75,
    "test_revoke": 75,
    "test_stages": 75,
    "test_storage": 75,
    "test_killed": 65,
    "test_lab": 65,
    "test_networks": 55,
    "test_secrets": 55,
    "test_trust": 55,
    "test_failures": 50,
    "test_files": 50,
    "test_status": 50,
    "test_distribution": 45,
    "test_addresses": 40,
    "test_backup": 40,
    "test_ca_change": 40,
    "test_verify": 35,
    "test_logins": 30,
    "test_rolling": 25,
    "test_setup_pki": 25,
    "test_preflight": 15,
    "test_cis": 10,
    "test_keys": 10,
    "test_matrix": 10,
    "test_report_browser": 10,
    "test_scripts": 10,
    # These are skipped unless versions of etcd are named, or left out unless all are wanted.
    **dict.fromkeys(("test_build", "test_grow", "test_minors", "test_out_of_3_4", "test_rotate_faults_ca"), 0),
}
"""What files take, about, so that the longest begin first and no lane is idle at the end; others take less."""
OTHERS_SECONDS = 40


@dataclass(frozen=True)
class LabHandle:
    """A lab that is up, used as a person would: through ``python -m lab``. ``env`` is ours plus what its `env` sets."""

    name: str
    dir: Path
    env: dict[str, str] = field(repr=False)

    @property
    def plan(self) -> Lab:
        """Its hosts, addresses and files, as data."""
        return state.require(self.name)

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``python -m lab COMMAND --name … ARGUMENTS``; fails the test if it fails."""
        return lab_command(command, "--name", self.name, *arguments, check=check)

    def exec(self, host: str, cmd: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root in the host, past SSH and network."""
        return self.run("exec", host, cmd, check=check)

    def stop(self, host: str) -> None:
        """Pull its power cord."""
        self.run("stop", host)

    def start(self, host: str) -> None:
        """Boot it again, with its disk."""
        self.run("start", host)

    def cut(self, host: str) -> None:
        """Pull its network cable."""
        self.run("cut", host)

    def heal(self, host: str) -> None:
        """Plug it in again."""
        self.run("heal", host)

    def ssh(self, host: str, cmd: str, *, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Log in as the inventory does, with strict host keys, and run a command."""
        target = self.plan.host(host)
        options = [f"UserKnownHostsFile={self.dir / 'known_hosts'}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        argv = ["ssh", "-F", "none", "-i", str(self.dir / "id_ed25519"), "-o", "ConnectTimeout=5"]
        argv += [part for option in options for part in ("-o", option)]
        argv += [f"{target.login}@{target.address}", cmd]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def lab_command(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """``python -m lab ARGUMENTS``; with ``check`` a failure fails the test and shows what it said."""
    argv = [sys.executable, "-m", "lab", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if starter.can_fork(os.environ):
            running = starter.fork("lab", list(arguments), PROJECT, os.environ, out.fileno(), err.fileno())
            code = running.wait(1800)
        else:
            code = subprocess.run(
                argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=1800, check=False
            ).returncode
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))
    if check and code != 0:
        pytest.fail(f"{' '.join(argv)}: exit code {code}\n{''.join(said)}", pytrace=False)
    return subprocess.CompletedProcess(argv, code, *said)


def sourced(env_file: Path) -> dict[str, str]:
    """The environment after sourcing a file."""
    script = '. "$1" >/dev/null && env -0'
    done = subprocess.run(["sh", "-c", script, "sh", str(env_file)], capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the files of `TOGETHER` one after the other, and what takes longest first.

    Leaves out what is for ``make thorough``, unless tests are named one by one. Refuses a file that uses a lab of the
    whole session and is not with the others of that lab.
    """
    named = any("::" in argument for argument in config.args)
    if os.environ.get("ETCDFLEET_THOROUGH") != "1" and not named:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    seconds: dict[str, int] = {}
    for stem in dict.fromkeys(item.path.stem for item in items):
        seconds[group_of(stem)] = seconds.get(group_of(stem), 0) + SECONDS.get(stem, OTHERS_SECONDS)
    groups = sorted(seconds, key=lambda group: -seconds[group])
    items.sort(key=lambda item: (groups.index(group_of(item.path.stem)), place_of(item.path.stem)))
    for item in items:
        defined = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  private, and the only place that has it
        for name in SESSION_LABS:
            if name in defined and defined[name][-1].scope == "session" and item.path.stem not in TOGETHER[name]:
                raise pytest.UsageError(f"{item.path.name} uses the fixture {name}: name it in TOGETHER ({__file__})")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Takes down a lab of the session once the last test of its files is over: an idle one costs the others time."""
    group = group_of(item.path.stem)
    if group in SESSION_LABS and (nextitem is None or group_of(nextitem.path.stem) != group):
        lab_command("down", "--name", SESSION_LABS[group])


def group_of(stem: str) -> str:
    """The name under which a file stands in `TOGETHER`, else its own."""
    return next((group for group, files in TOGETHER.items() if stem in files), stem)


def place_of(stem: str) -> int:
    """The place of a file among those of its group."""
    files = TOGETHER.get(group_of(stem), (stem,))
    return files.index(stem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files run side by side, each in one worker as a whole, and those in `TOGETHER` in the same one."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # not those with the most tests first, but those that take longest

    class BySharedLab(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return group_of(Path(nodeid.partition("::")[0]).stem)

    return BySharedLab(config, log)


@pytest.fixture(scope="session")
def lab_machine() -> None:
    """Stop here, with the reason, on a machine that cannot carry a lab."""
    if os.environ.get("ETCDFLEET_NO_LAB") == "1":
        pytest.skip("ETCDFLEET_NO_LAB=1: no lab tests wanted")
    if os.geteuid() != 0:
        pytest.fail("the lab needs root (or set ETCDFLEET_NO_LAB=1 to leave these tests out)", pytrace=False)


@pytest.fixture(scope="session")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """The default topology as the lab ``test``: fresh at the start of the session, gone at its end."""
    lab_command("down", "--name", "test")
    try:
        lab_command("up", "--name", "test")
        folder = state.lab_dir("test")
        yield LabHandle("test", folder, sourced(folder / "env"))
    finally:
        lab_command("down", "--name", "test")


@pytest.fixture(scope="session")
def first(lab: LabHandle) -> Outcome:
    """The first deploy of the session's lab, whichever test needs it first."""
    from tests.lab.deploy_helpers import deploy  # which imports this module

    return deploy(lab, timeout=900)


@pytest.fixture(scope="session")
def deployed(lab: LabHandle, first: Outcome) -> LabHandle:
    """The session's lab after its first deploy; no test of it makes sense where that failed."""
    if first.exit_code != 0:
        pytest.fail(f"the first deploy failed: {first.text}", pytrace=False)
    return lab


@pytest.fixture(scope="session")
def sight(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Two deployed clusters for the tests of what is only looked at. Each test leaves them sound."""
    from tests.lab.deploy_helpers import TOPOLOGIES, deploy, own_lab

    with own_lab("test-sight", TOPOLOGIES / "sight.yaml") as handle:
        outcome = deploy(handle, timeout=600)
        if outcome.exit_code != 0:
            pytest.fail(f"the deploy failed: {outcome.text}", pytrace=False)
        yield handle


@pytest.fixture(scope="session")
def pair(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Two clusters of bare hosts, one of each init system, whose CAs and certificates change."""
    from tests.lab.deploy_helpers import TOPOLOGIES, own_lab

    with own_lab("test-pair", TOPOLOGIES / "trust.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def clusters(pair: LabHandle) -> LabHandle:
    """The pair as the inventory has it, with CAs of their own for members and clients, whatever tests have left."""
    from tests.lab.deploy_helpers import deploy

    outcome = deploy(pair, "--yes", timeout=600)
    if outcome.exit_code != 0:
        pytest.fail(f"the deploy failed: {outcome.text}", pytrace=False)
    return pair
