"""A deploy that has nothing to do: ours, pyinfra's and Ansible's, on the same hosts, in turn. ``make bench`` runs it.

What all three do on each host, from the same data (``work.py``): packages present, user and group, folders with
owner and mode, the trust anchor's content, certificates and keys present with owner and mode and valid beyond the
renewal threshold, the configuration and service files rendered from the same templates and compared with content, owner
and mode, the service running and enabled, and the same etcdctl commands as our verification runs: member list, status,
health, hashes at one revision, and that the server certificate is refused as a client's.

What only ours does: preflight (clock, names, ports, space, architecture, Vault and its roles), keys belonging to
certificates, chain, names and usages of certificates against the CA that issues today, understanding etcdctl's answers
(the others look at exit codes), what both ports serve and refuse to the controller, and the report.

pyinfra: its own operations, and facts for what is only looked at; one connection per host, all hosts at once.
Ansible: its own modules on Debian, with pipelining, kept connections (warm when the round before is less than a
minute old), the free strategy, forks for all hosts, and no fact gathering. It needs Python on a host, which ours and
pyinfra do not: Debian hosts get it before anything is measured. Alpine hosts are left as they are: only ``raw`` works
there, which is less than modules do. An emulated host runs Python many times slower than a real one of its kind would,
so there are two comparisons: all hosts, and only those Debian hosts that are not emulated, which is the fair one for
Ansible.

Each round runs all tools once, each time in another order; medians of wall time count, process start included. Absolute
times mean nothing on another machine, ratios do. Exit code 1 only when a run failed or was not a no-op.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.models import HostSettings
from tasks.certificates.anchors import trusted_text
from tasks.observe import site_of
from tests.bench.plain import write_templates
from tests.bench.work import host_work

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
VENV = ROOT / ".cache" / "bench-venv"
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
AIMS = {"pyinfra": 0.6, "ansible": 0.1}
ROUND_TRIPS_AIM = 12
RUN_SECONDS = 900
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


class NotANoopError(Exception):
    """A run failed, or changed something, or says so."""


@dataclass(frozen=True)
class Bench:
    """A converged lab, as the three tools need it: a folder with their inputs, and the environment of ``env``."""

    config: Path
    folder: Path
    environment: Mapping[str, str]
    hosts: Mapping[str, HostSettings]
    round_trips: dict[str, int] = field(default_factory=dict)

    def ours(self, hosts: Collection[str]) -> None:
        """One no-op deploy of ours."""
        with tempfile.TemporaryDirectory(dir=self.folder) as reports:
            command = [sys.executable, str(ROOT / "runbooks" / "deploy.py"), "--config", str(self.config), "--quiet"]
            done = self._run("ours", [*command, "--limit", ",".join(hosts), "--report-dir", reports])
            report = json.loads(next(Path(reports).glob("*-deploy/report.json")).read_text())
        for name, host in report["hosts"].items():
            steps = host["steps"].values() if isinstance(host["steps"], dict) else host["steps"]
            changed = [step for step in steps if step["status"] == "changed"]
            if changed:
                raise NotANoopError(f"ours changed {name}: {changed}\n{done}")
            self.round_trips[name] = host["facts"]["ssh_round_trips"]

    def pyinfra(self, hosts: Collection[str]) -> None:
        """The same by pyinfra."""
        command = [str(VENV / "bin" / "pyinfra"), "-y", *(f"--limit={name}" for name in hosts)]
        said = self._run("pyinfra", [*command, "inventory.py", "deploy.py"], cwd=HERE / "pyinfra")
        total = re.search(r"Grand total +(\d+) +(\S+) +(\S+) +(\S+)", said)  # changed, failed, unchanged
        if total is None or total[3] != "-" or total[2] != "-":
            raise NotANoopError(f"pyinfra changed something, or failed:\n{said}")

    def ansible(self, hosts: Collection[str], playbook: str = "noop.yml") -> None:
        """The same by Ansible."""
        command = [str(VENV / "bin" / "ansible-playbook"), "-i", str(self.folder / "ansible.json"), playbook]
        said = self._run("ansible", [*command, "--limit", ",".join(hosts)], cwd=HERE / "ansible")
        recap = re.findall(r"^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", said, re.MULTILINE)
        good = {name for name, ok, *bad in recap if int(ok) and not any(map(int, bad))}
        if good != set(hosts):
            raise NotANoopError(f"Ansible changed something, or failed:\n{said}")

    def _run(self, tool: str, command: list[str], cwd: Path = ROOT) -> str:
        environment = {**os.environ, **self.environment, "BENCH_FOLDER": str(self.folder), "NO_COLOR": "1"}
        environment |= {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", "ANSIBLE_HOME": str(self.folder / "ansible")}
        environment["PYTHONDONTWRITEBYTECODE"] = ""
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=RUN_SECONDS
        )
        if done.returncode != 0:
            raise NotANoopError(f"{tool} failed with exit code {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.noop", description=__doc__.split("\n")[0])
    parser.add_argument("--lab", help="an existing lab on which deploy has been run (default: one of its own)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each tool runs (default: %(default)s)")
    parser.add_argument("--limit", default="", help="these hosts only, by comma (default: all)")
    parser.add_argument("--once", action="store_true", help="one round on all hosts alone: does it still work?")
    parser.add_argument("--tools", default="ours,pyinfra,ansible", help="which tools (default: %(default)s)")
    options = parser.parse_args(arguments)
    tools = options.tools.split(",")
    if unknown := set(tools) - {"ours", *AIMS}:
        parser.error(f"unknown: {', '.join(unknown)}")
    make_venv()
    try:
        with lab(options.lab) as folder, prepared(folder, options.limit.split(",") if options.limit else ()) as bench:
            measure(bench, tools, 1 if options.once else max(1, options.rounds), all_sets=not options.once)
    except (NotANoopError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def make_venv() -> None:
    """The tools' own venv, made at the first use and when their pinned versions change."""
    stamp = VENV / ".requirements"
    if stamp.is_file() and stamp.read_text() == REQUIREMENTS.read_text():
        return
    print("bench: installing pyinfra and ansible-core into a venv of their own", flush=True)
    # Without a pip of its own, and nothing compiled that is not used: 6 s in place of 13.
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)], check=True)
    install = [sys.executable, "-m", "pip", "--python", str(VENV / "bin" / "python"), "install", "--no-compile"]
    subprocess.run([*install, "-qq", "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(REQUIREMENTS.read_text())


@contextmanager
def lab(name: str | None) -> Iterator[Path]:
    """The folder of a lab: an existing one, or one that is brought up, deployed to, and taken down at the end."""
    folder = ROOT / ".lab" / (name or "bench")
    if name:
        yield folder
        return
    command = [sys.executable, "-m", "lab"]
    subprocess.run([*command, "up", "--name", folder.name], cwd=ROOT, check=True)
    try:
        deploy = [sys.executable, str(ROOT / "runbooks" / "deploy.py"), "--config", str(folder / "config.yaml")]
        subprocess.run(deploy, env={**os.environ, **lab_environment(folder)}, check=True, timeout=RUN_SECONDS)
        yield folder
    finally:
        subprocess.run([*command, "down", "--name", folder.name], cwd=ROOT, check=True)


def lab_environment(folder: Path) -> dict[str, str]:
    """What ``env`` of a lab sets, for a lab that is up."""
    shell = f'. "{folder / "env"}" && env -0'
    done = subprocess.run(["sh", "-c", shell], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    pairs = (item.split("=", 1) for item in done.stdout.decode().split("\0") if "=" in item)
    return {key: value for key, value in pairs if key.startswith(("VAULT_", "ETCDFLEET_"))}


@contextmanager
def prepared(folder: Path, limit: Collection[str] = ()) -> Iterator[Bench]:
    """The inputs of all tools for the hosts of ``limit``, or all, in a folder that is removed again."""
    nornir, fleet = open_nornir(folder / "config.yaml")
    chosen = limited(fleet.hosts, limit)
    with tempfile.TemporaryDirectory(prefix="etcdfleet-bench-") as temporary:
        bench = Bench(folder / "config.yaml", Path(temporary), lab_environment(folder), chosen)
        bench.ours(chosen)
        write_templates(bench.folder / "templates")
        extras = nornir.inventory.defaults.connection_options["netmiko"].extras or {}
        looks = nornir.filter(filter_func=lambda host: host.name in chosen).run(task=_look)
        nornir.close_connections()
        work: dict[str, Any] = {}
        for name, settings in chosen.items():
            if looks[name].failed:
                raise NotANoopError(f"{name} cannot be looked at: {looks[name].exception}")
            login = nornir.inventory.hosts[name].username or "root"
            trusted, needed = looks[name].result
            (bench.folder / f"{name}.anchor.pem").write_text(trusted)
            work[name] = {
                "pyinfra": {
                    "ssh_hostname": settings.hostname,
                    "ssh_user": login,
                    "ssh_key": extras["key_file"],
                    "ssh_known_hosts_file": extras["alt_key_file"],
                    "ssh_strict_host_key_checking": "yes",
                    "_sudo": login != "root",
                },
                "ansible": {
                    "ansible_host": settings.hostname,
                    "ansible_user": login,
                    "ansible_become": login != "root",
                    "ansible_ssh_private_key_file": extras["key_file"],
                    "ansible_ssh_common_args": f"-o UserKnownHostsFile={extras['alt_key_file']}",
                    "bench_folder": temporary,
                },
                "work": needed,
            }
        (bench.folder / "work.json").write_text(json.dumps(work))
        hosts = {n: w["ansible"] | w["work"]["variables"] | {"work": w["work"]} for n, w in work.items()}
        (bench.folder / "ansible.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        yield bench


def limited(hosts: Mapping[str, HostSettings], limit: Collection[str]) -> dict[str, HostSettings]:
    """The hosts that ``limit`` names, or all if it names none. Raises NotANoopError for a name that is not known."""
    if unknown := set(limit) - set(hosts):
        raise NotANoopError(f"not in the inventory: {', '.join(sorted(unknown))}")
    return {name: settings for name, settings in hosts.items() if not limit or name in limit}


def _look(task: Task) -> Result:
    """The trust anchors of clients on the host, and its `host_work`."""
    site = site_of(task)
    seen = site.observe()
    return Result(task.host, result=(trusted_text(seen, "client") or "", host_work(site, seen)))


def measure(bench: Bench, tools: list[str], rounds: int, *, all_sets: bool = True) -> None:
    """Runs all tools in turn and prints the tables; without ``all_sets`` only that of all hosts."""
    actions: dict[str, Callable[[Collection[str]], None]] = {
        tool: getattr(bench, tool) for tool in ("ours", "pyinfra", "ansible") if tool in tools
    }
    debian = [name for name, settings in bench.hosts.items() if settings.init == "systemd"]
    native = ARCHITECTURES[platform.machine()]
    sets = {
        "Debian hosts, none emulated": [
            name for name in debian if (bench.hosts[name].platform.architecture or native) == native
        ],
        "all hosts": list(bench.hosts),
    }
    if len(sets["all hosts"]) == len(sets["Debian hosts, none emulated"]):
        del sets["all hosts"]
    elif not all_sets:
        del sets["Debian hosts, none emulated"]
    for title, hosts in sets.items():
        if not hosts:
            continue
        if "ansible" in actions and set(debian) & set(hosts):
            print("bench: Python for Ansible on the Debian hosts (not measured)", flush=True)
            bench.ansible(set(debian) & set(hosts), "python.yml")
        times: dict[str, list[float]] = {tool: [] for tool in actions}
        order = list(actions)
        for _ in range(rounds):
            for tool in order:
                began = time.monotonic()
                actions[tool](hosts)
                times[tool].append(time.monotonic() - began)
            order = order[1:] + order[:1]
        _print_table(f"{title} ({len(hosts)}), {rounds} rounds", times)
    if bench.round_trips:
        most = max(bench.round_trips.values())
        print(f"\nSSH round trips per host in our no-op run: {most} (aim: at most {ROUND_TRIPS_AIM})")


def _print_table(title: str, times: Mapping[str, list[float]]) -> None:
    print(f"\n{title}\n{'':10}{'median':>9}{'fastest':>9}{'slowest':>9}   ours / it")
    ours = statistics.median(times["ours"]) if times.get("ours") else None
    for tool, seconds in times.items():
        median = statistics.median(seconds)
        line = f"{tool:10}{median:>7.2f} s{min(seconds):>7.2f} s{max(seconds):>7.2f} s"
        if tool in AIMS and ours is not None:
            line += f"{ours / median:>12.2f}  (aim: at most {AIMS[tool]})"
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
