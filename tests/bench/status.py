"""How long a look at two clusters takes: ``status.py`` against ``ansible all -m ping`` on the same hosts, in turn.

The ping does nothing but log in and run an empty module. ``status.py`` logs in, reads each host (service, files,
certificates, clock, space), asks its member for status and health and one of each cluster for the member list, and
compares all of it with what deploy would write. Ansible is measured twice: as it comes, which is what somebody gets who
types the command, and tuned as for ``tests.bench.noop`` (pipelining, forks for all hosts, no search for an
interpreter). In both cases it keeps its connections for a minute, so that from the second round on it does not log in
any more, and ours does. It needs Python on the hosts, which is put there before anything is measured; so all six are
Debian hosts, none emulated. Controller and hosts share this machine's processors.

Each round runs all, each time in another order; medians of wall time count, process start included. Exit code 1 only
when a run failed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from etcdfleet.settings.load import open_nornir
from tests.bench.noop import HERE, ROOT, RUN_SECONDS, VENV, NotANoopError, lab_environment, limited, make_venv

AIM = 0.5
AS_IT_COMES, TUNED = "ansible ping", "ansible ping, tuned"
TOPOLOGY = HERE / "status.yaml"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.status", description=__doc__.split("\n")[0])
    parser.add_argument("--lab", help="an existing lab of Debian hosts, deployed to (default: one of its own)")
    parser.add_argument("--limit", default="", help="these hosts only, by comma (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each tool runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    make_venv()
    try:
        with lab(options.lab, TOPOLOGY) as folder, tempfile.TemporaryDirectory(prefix="etcdfleet-bench-") as temporary:
            measure(folder, Path(temporary), max(1, options.rounds), options.limit)
    except (NotANoopError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def lab(name: str | None, topology: Path) -> Iterator[Path]:
    """The folder of a lab: an existing one, or one that is brought up, deployed to, and taken down at the end."""
    folder = ROOT / ".lab" / (name or f"bench-{topology.stem}")
    if name:
        yield folder
        return
    command = [sys.executable, "-m", "lab"]
    subprocess.run([*command, "up", "--name", folder.name, str(topology)], cwd=ROOT, check=True)
    try:
        deploy = [sys.executable, str(ROOT / "runbooks" / "deploy.py"), "--config", str(folder / "config.yaml")]
        environment = {**os.environ, **lab_environment(folder)}
        subprocess.run([*deploy, "--quiet"], env=environment, check=True, timeout=RUN_SECONDS)
        yield folder
    finally:
        subprocess.run([*command, "down", "--name", folder.name], cwd=ROOT, check=True)


def measure(folder: Path, temporary: Path, rounds: int, limit: str = "") -> None:
    """Runs both in turn, on the hosts of ``limit`` or all, and prints the table."""
    config = folder / "config.yaml"
    hosts = write_inventory(config, temporary, limit.split(",") if limit else ())
    inventory = str(temporary / "ansible.json")
    ours = [sys.executable, str(ROOT / "runbooks" / "status.py"), "--config", str(config), "--json"]
    chosen = ["--limit", ",".join(hosts)]
    ping = [str(VENV / "bin" / "ansible"), "-i", inventory, "all", "-m", "ping"]
    print("bench: Python for Ansible on the hosts (not measured)", flush=True)
    run([str(VENV / "bin" / "ansible-playbook"), "-i", inventory, "python.yml"], HERE / "ansible", temporary)
    folders = {AS_IT_COMES: temporary, TUNED: HERE / "ansible"}  # where ansible.cfg is, or is not
    times: dict[str, list[float]] = {"status.py": [], **{tool: [] for tool in folders}}
    order = list(times)
    for _ in range(rounds):
        for tool in order:
            began = time.monotonic()
            if tool == "status.py":
                run([*ours, str(temporary / "events"), *chosen], temporary, temporary)
                times[tool].append(time.monotonic() - began)
                check(temporary / "events", hosts)
            else:
                said = run(ping, folders[tool], temporary)
                times[tool].append(time.monotonic() - began)
                if said.count('"ping": "pong"') != len(hosts):
                    raise NotANoopError(f"not all hosts answered the ping:\n{said}")
        order = order[1:] + order[:1]
    print(f"\n{len(hosts)} hosts, {rounds} rounds\n{'':22}{'median':>9}{'fastest':>9}{'slowest':>9}   ours / it")
    ours_median = statistics.median(times["status.py"])
    for tool, seconds in times.items():
        median = statistics.median(seconds)
        line = f"{tool:22}{median:>7.2f} s{min(seconds):>7.2f} s{max(seconds):>7.2f} s"
        if tool in folders:
            line += f"{ours_median / median:>12.2f}" + (f"  (aim: at most {AIM})" if tool == AS_IT_COMES else "")
        print(line, flush=True)


def write_inventory(config: Path, temporary: Path, limit: Collection[str] = ()) -> list[str]:
    """Ansible's inventory of the hosts of ``limit``, or all; returns their names."""
    nornir, fleet = open_nornir(config)
    chosen = limited(fleet.hosts, limit)
    extras = nornir.inventory.defaults.connection_options["netmiko"].extras or {}
    hosts = {
        name: {
            "ansible_host": settings.hostname,
            "ansible_user": nornir.inventory.hosts[name].username or "root",
            "ansible_become": (nornir.inventory.hosts[name].username or "root") != "root",
            "ansible_ssh_private_key_file": extras["key_file"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={extras['alt_key_file']}",
        }
        for name, settings in chosen.items()
    }
    (temporary / "ansible.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    return list(hosts)


def check(events: Path, hosts: list[str]) -> None:
    """Raises NotANoopError unless the run saw every member serve, in one round trip each."""
    facts = json.loads(events.read_text().splitlines()[-1])["facts"]
    seen = {name: (facts.get(name, {}).get("state"), facts.get(name, {}).get("ssh_round_trips")) for name in hosts}
    if set(seen.values()) != {("serves", 1)}:
        raise NotANoopError(f"status.py did not see all members serve in one round trip: {seen}")


def run(command: list[str], folder: Path, temporary: Path) -> str:
    """Runs a command in ``folder`` without any Vault; returns what it printed. Raises NotANoopError when it failed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAULT_")}
    environment |= {"NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "", "ANSIBLE_HOME": str(temporary / "home")}
    environment["PATH"] = f"{VENV / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    if done.returncode != 0:
        raise NotANoopError(f"{command[0]} failed with exit code {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
