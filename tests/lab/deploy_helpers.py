"""Runs of the runbook ``deploy`` as a person starts it; looks at hosts that use nothing of the code under test."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import cgroups, hosts, state
from lab.state import PROJECT
from tests.lab import starter
from tests.lab.conftest import LabHandle, lab_command, sourced
from tests.lab.starter import Started

CERTS = "/etc/etcd/certs"
FILES = ("config.yaml", "inventory/defaults.yaml", "inventory/groups.yaml", "inventory/hosts.yaml")
TOPOLOGIES = Path(__file__).with_name("topologies")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind. ``report`` is empty and ``folder`` None when the run was refused before it began."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    report: dict[str, Any] = field(repr=False)
    events: list[dict[str, Any]] = field(repr=False)
    folder: Path | None

    @property
    def text(self) -> str:
        """All that the person at the terminal saw: for messages of failed assertions."""
        return f"exit code {self.exit_code} after {self.seconds:.1f} s\n{self.stdout}\n{self.stderr}"

    @property
    def in_one_line(self) -> str:
        """The same with no line broken."""
        return " ".join(self.text.split())

    @property
    def log(self) -> str:
        """The run's log."""
        return "".join(path.read_text() for path in self.folder.glob("*.log")) if self.folder else ""

    def host(self, name: str) -> dict[str, Any]:
        """The report on one host."""
        found: dict[str, Any] = self.report["hosts"][name]
        return found

    def step(self, host: str, name: str) -> dict[str, Any]:
        """The report on one step of one host."""
        found: dict[str, Any] = next(step for step in self.host(host)["steps"] if step["name"] == name)
        return found

    def error(self, host: str) -> str:
        """What the report says went wrong on a host: step, what, where and remedy; empty if nothing did."""
        failed = [step for step in self.host(host)["steps"] if step["error"]]
        return "\n".join(
            f"{step['name']}: {step['error']['what']}\n{step['error']['where']}\n{step['error']['remedy']}"
            for step in failed
        )

    @property
    def changed(self) -> dict[str, int]:
        """Number of changed steps by host."""
        return {name: host["totals"]["changed"] for name, host in self.report["hosts"].items()}

    @property
    def failed(self) -> list[str]:
        """Hosts on which a step failed."""
        return [name for name, host in self.report["hosts"].items() if host["totals"]["failed"]]


@dataclass
class Running:
    """A run that has been started and not waited for. Its folder holds reports, events and its working folder."""

    process: Started
    folder: Path
    started: float
    _seen: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)
    _read: int = field(default=0, init=False, repr=False)

    def kill(self) -> None:
        """As the power cut on the controller: SIGKILL to the run and everything it has started.

        What a host was at, as the start of a service, goes on for a moment: the next run waits for it.
        """
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        """Ctrl-C, as the terminal sends it: SIGINT to the run and everything it has started."""
        os.killpg(self.process.pid, signal.SIGINT)

    def events(self) -> list[dict[str, Any]]:
        """The events so far (``--json FILE``). Only what is new is read: tests ask many times a second."""
        path = self.folder / "events.ndjson"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._seen += map(json.loads, whole.splitlines())
        return self._seen

    def finish(self, timeout: float = 300) -> Outcome:
        """Wait for its end; a run that takes longer than ``timeout`` seconds is killed and fails the test."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        seconds = time.monotonic() - self.started
        reports = sorted(self.folder.glob("reports/*/report.json"))
        report = json.loads(reports[-1].read_text()) if reports else {}
        return Outcome(
            code,
            (self.folder / "stdout").read_text(),
            (self.folder / "stderr").read_text(),
            seconds,
            report,
            self.events(),
            reports[-1].parent if reports else None,
        )


def begin_deploy(
    handle: LabHandle,
    *args: str,
    env: Mapping[str, str | None] | None = None,
    config: Path | None = None,
    runbook: str = "deploy",
    project: Path = PROJECT,
    own_python: bool = False,
) -> Running:
    """Start a runbook from an empty folder, in a session of its own, with the lab's environment.

    ``env`` adds variables, or with None removes them. Reports and output go below the lab's folder and vanish with it.
    ``project`` is a copy of this one in which something differs; ``own_python`` starts it as a person would, with the
    command line that `ps` shows then.
    """
    base = handle.dir / "runs"
    base.mkdir(exist_ok=True)
    folder = base / f"{len(list(base.iterdir())):03d}"
    (folder / "cwd").mkdir(parents=True)
    environment = {key: value for key, value in {**handle.env, **(env or {})}.items() if value is not None}
    script = project / "runbooks" / f"{runbook}.py"
    arguments = ["--config", str(config or handle.dir / FILES[0]), "--report-dir", str(folder / "reports")]
    arguments += ["--json", str(folder / "events.ndjson"), *args]
    process: Started
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        if not own_python and project == PROJECT and starter.can_fork(environment):
            process = starter.fork(script, arguments, folder / "cwd", environment, out.fileno(), err.fileno())
        else:
            process = subprocess.Popen(
                # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
                ["env", "--default-signal=INT", sys.executable, str(script), *arguments],
                cwd=folder / "cwd",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
    return Running(process, folder, time.monotonic())


def deploy(
    handle: LabHandle,
    *args: str,
    env: Mapping[str, str | None] | None = None,
    config: Path | None = None,
    timeout: float = 300,
    runbook: str = "deploy",
    project: Path = PROJECT,
    own_python: bool = False,
) -> Outcome:
    """Run ``runbooks/deploy.py``, or another runbook, to its end, as `begin_deploy` starts it."""
    running = begin_deploy(
        handle, *args, env=env, config=config, runbook=runbook, project=project, own_python=own_python
    )
    return running.finish(timeout)


def inventory_variant(handle: LabHandle, tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the lab's configuration, changed; returns its ``config.yaml``.

    ``edit`` gets the parsed files by their names in `FILES` and changes them in place. The lab's paths are absolute, so
    they stay valid.
    """
    data = {name: yaml.safe_load((handle.dir / name).read_text()) for name in FILES}
    edit(data)
    folder = tmp_path / f"variant-{len(list(tmp_path.glob('variant-*')))}"
    (folder / "inventory").mkdir(parents=True)
    for name, content in data.items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / FILES[0]


def cluster_variant(handle: LabHandle, tmp_path: Path, cluster: str, **settings: Any) -> Path:
    """A copy of the lab's configuration with some settings of one cluster changed."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"][cluster]["data"]["cluster"].update(settings)

    return inventory_variant(handle, tmp_path, edit)


@dataclass(frozen=True)
class Process:
    """A process of a host, seen from the controller. ``started`` is in clock ticks since the controller's boot."""

    pid: int
    started: int
    argv: tuple[str, ...]
    environ: frozenset[str] = field(repr=False)


def processes(handle: LabHandle, host: str) -> list[Process]:
    """All processes of a host, from the controller's /proc; empty when it is off."""
    plan = handle.plan
    found = []
    for pid in sorted(cgroups.processes(f"{plan.cgroup}/{hosts.daemon(plan.host(host))}", settled=True)):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            environ = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        except OSError:
            continue  # ended meanwhile
        found.append(Process(pid, started, tuple(argv), frozenset(environ)))
    return found


def etcd_processes(handle: LabHandle, host: str) -> list[Process]:
    """The etcd servers that run on a host, whoever started them (under emulation too); not their supervisors."""

    def is_etcd(argv: tuple[str, ...]) -> bool:
        if not argv:
            return False
        program = Path(argv[0]).name
        emulated = "qemu" in argv[0] or "binfmt" in argv[0]
        # The emulator is given the program's path, then its arguments from the name on.
        return program == "etcd" or (emulated and len(argv) > 1 and Path(argv[1]).name == "etcd")

    return [process for process in processes(handle, host) if is_etcd(process.argv)]


def start_times(handle: LabHandle) -> dict[str, list[tuple[int, int]]]:
    """Process id and start time of every etcd server, by host: equal before and after means that none was restarted."""
    return {
        host.name: [(process.pid, process.started) for process in etcd_processes(handle, host.name)]
        for host in handle.plan.hosts
    }


def members(handle: LabHandle, cluster: str) -> list[str]:
    """Names of the hosts of a cluster, as the lab knows them."""
    return [host.name for host in handle.plan.hosts if host.cluster == cluster]


def on_host(handle: LabHandle, host: str, cmd: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """As ``python -m lab exec HOST CMD`` without the time of a new Python: root's shell in the host, past SSH."""
    argv = hosts.enter_command(handle.plan, handle.plan.host(host), [cmd])
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )


def output(handle: LabHandle, host: str, cmd: str, *, timeout: float = 60) -> str:
    """Standard output of a command as root in the host; fails the test when the command fails."""
    done = on_host(handle, host, cmd, timeout=timeout)
    assert done.returncode == 0, f"{host}: {cmd}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def etcd_log(handle: LabHandle, host: str, lines: int = 60) -> str:
    """The end of what etcd and its service manager have logged on a host, for messages of failed assertions."""
    journal = f"journalctl -q --no-pager -o short-precise -u etcd.service -n {lines}"
    return on_host(handle, host, f"{journal} 2>/dev/null || tail -n {lines} /var/log/etcd/etcd.log").stdout


def etcdctl_command(
    handle: LabHandle,
    host: str,
    args: str,
    *,
    tls: bool = True,
    endpoints: str | None = None,
    pair: str | None = "etcdctl",
    seconds: int = 5,
) -> str:
    """Shell for etcdctl on a host, by default at its own member.

    ``pair`` is the folder of the certificate that the client shows: ``etcdctl`` is the client's, ``server`` that of
    the peers, ``client`` the server-only one, None shows none.
    """
    fqdn = handle.plan.host(host).fqdn
    words = ["ETCDCTL_API=3", "etcdctl", f"--command-timeout={seconds}s", f"--dial-timeout={seconds}s"]
    own = f"{'https' if tls else 'http'}://127.0.0.1:2379"
    words.append(f"--endpoints={shlex.quote(endpoints or own)}")
    if tls:
        words.append(f"--cacert=$(ls {CERTS}/clientCA.pem {CERTS}/rootCA.pem 2>/dev/null | head -n 1)")
        words += [f"--{kind}={CERTS}/{pair}/{fqdn}.{suffix}" for kind, suffix in _PAIR] if pair else []
    return " ".join([*words, args])


_PAIR = (("cert", "pem"), ("key", "key"))


def etcdctl(handle: LabHandle, host: str, args: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run etcdctl as root on a host; ``how`` as in `etcdctl_command`."""
    return on_host(handle, host, etcdctl_command(handle, host, args, **how))


def all_endpoints(handle: LabHandle, cluster: str, *, tls: bool = True) -> str:
    """The client URLs of a cluster's members, comma separated."""
    scheme = "https" if tls else "http"
    return ",".join(f"{scheme}://{handle.plan.host(name).fqdn}:2379" for name in members(handle, cluster))


def member_list(handle: LabHandle, host: str, *, tls: bool = True) -> list[dict[str, Any]]:
    """The members that the host's own member knows."""
    done = etcdctl(handle, host, "member list -w json", tls=tls)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["members"]
    return found


def unhealthy(handle: LabHandle, cluster: str, *, tls: bool = True) -> str:
    """Empty when every member of the cluster answers a linearizable read, else what etcdctl says."""
    asker = members(handle, cluster)[0]
    done = etcdctl(handle, asker, "endpoint health", tls=tls, endpoints=all_endpoints(handle, cluster, tls=tls))
    healthy = (done.stdout + done.stderr).count(" is healthy")
    return "" if done.returncode == 0 and healthy == len(members(handle, cluster)) else done.stdout + done.stderr


def wait_for(what: str, true: Callable[[], bool], timeout: float = 60, every: float = 0.2) -> None:
    """Poll until ``true()``; fails the test, naming ``what``, when it is not so within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(every)


def for_chosen(request: pytest.FixtureRequest, topology: str, *clusters: str) -> Path:
    """A topology without the hosts that only tests for ``make thorough`` need, unless one of this file's is run.

    ``clusters`` are those that are always needed.
    """
    file = TOPOLOGIES / topology
    if any(item.path == request.path and item.get_closest_marker("thorough") for item in request.session.items):
        return file
    data = yaml.safe_load(file.read_text())
    data["clusters"] = {name: data["clusters"][name] for name in clusters}
    data["hosts"] = {name: host for name, host in data["hosts"].items() if host["cluster"] in clusters}
    smaller: Path = request.getfixturevalue("tmp_path_factory").mktemp("topology") / topology
    smaller.write_text(yaml.safe_dump(data, sort_keys=False))
    return smaller


@contextmanager
def own_lab(name: str, topology: Path | None = None) -> Iterator[LabHandle]:
    """A lab of that name with a topology of its own, fresh, gone afterwards."""
    lab_command("down", "--name", name)
    try:
        lab_command("up", "--name", name, *([str(topology)] if topology else []))
        folder = state.lab_dir(name)
        yield LabHandle(name, folder, sourced(folder / "env"))
    finally:
        lab_command("down", "--name", name)
