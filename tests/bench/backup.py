"""What a backup and a restore cost, with little in the cluster and with much: seconds, bytes and memory.

By hand, a backup is ``etcdctl snapshot save`` on a host and a copy over the same SSH, which proves nothing; ours reads
the hash and all pages. ``--drill`` restores it and starts an etcd on it. Then all members are stopped, and without a
source ``restore.py`` reads what each of them has and says from what it can restore. Then they lose all of it, and
``restore.py latest`` brings the cluster back from what backup.py has left here, while each host tries a linearizable
read every second: how long clients have nothing, and when all members serve.

Bytes are those of all interfaces of the hosts during the command, members' own traffic included, so each command is
also there with little data. Memory is the most that the command on the controller had. All share this machine's
processors. Run it on a lab of its own: a cluster is taken apart. Exit code 1 only when a run failed.
"""

from __future__ import annotations

import argparse
import base64
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from etcdfleet.settings.load import open_nornir
from tests.bench.noop import HERE, ROOT, RUN_SECONDS, NotANoopError, lab_environment
from tests.bench.status import lab

VALUE = 8 << 10
"""Bytes of a value, as of a large object of Kubernetes."""
AT_ONCE = 100
"""Keys per transaction: with values of this size it stays below etcd's limit for a request, 1.5 MiB."""


@dataclass(frozen=True)
class Cost:
    """Of one command: wall time in seconds, bytes that left or reached the hosts, most memory on the controller."""

    what: str
    seconds: float
    network: int
    memory: int
    note: str = ""


@dataclass(frozen=True)
class Kept:
    """A deployed cluster of a lab, and the folder in which its snapshots are kept here."""

    folder: Path
    cluster: str
    hosts: Mapping[str, str]
    """The login of each host, as ssh has it."""
    urls: Mapping[str, str]
    snapshots: Path
    environment: Mapping[str, str] = field(repr=False)

    def shell(self, host: str, script: str) -> list[str]:
        """The command line that runs a script in a root's login shell on a host."""
        options = ["-i", str(self.folder / "id_ed25519"), "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}"]
        command = f"{'' if self.hosts[host].startswith('root@') else 'sudo '}sh -lc {shlex.quote(script)}"
        return ["ssh", "-q", "-o", "BatchMode=yes", *options, self.hosts[host], command]

    def on(self, host: str, script: str, stdin: bytes = b"") -> str:
        """What a script on a host prints. Raises NotANoopError when it failed."""
        done = subprocess.run(
            self.shell(host, script), input=stdin, capture_output=True, check=False, timeout=RUN_SECONDS
        )
        if done.returncode != 0:
            raise NotANoopError(f"{host}: {script!r} failed: {done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()

    def etcdctl(self, host: str) -> str:
        """The command that asks the member on a host, in a login shell there, and no other member."""
        return f"ETCDCTL_ENDPOINTS={self.urls[host]} etcdctl"

    def traffic(self) -> int:
        """Bytes that the hosts have sent and received so far; what two of them exchange counts twice."""
        lines = "".join(self.on(host, "sed '1,2d; /lo:/d' /proc/net/dev") for host in self.hosts).splitlines()
        return sum(int(numbers[0]) + int(numbers[8]) for numbers in (line.partition(":")[2].split() for line in lines))

    def ours(self, runbook: str, *args: str) -> list[str]:
        """The command line of a runbook for this cluster alone."""
        common = ["--config", str(self.folder / "config.yaml"), "--cluster", self.cluster, "--quiet"]
        return [sys.executable, str(ROOT / "runbooks" / f"{runbook}.py"), *args, *common]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backup", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--lab", help="an existing lab, deployed to, whose cluster may be taken apart (default: its own)"
    )
    parser.add_argument("--cluster", default="k-one", help="a cluster without authentication (default: %(default)s)")
    parser.add_argument("--mib", type=int, default=100, help="so much is put into it (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="not with nothing in it as well: does it still work?")
    options = parser.parse_args(arguments)
    try:
        with lab(options.lab, HERE / "backup.yaml") as folder, tempfile.TemporaryDirectory() as temporary:
            kept = opened(folder, options.cluster, Path(temporary))
            costs = [cost for mib in ([] if options.once else [0]) for cost in measure(kept, mib)]
            costs += measure(kept, max(1, options.mib))
    except (NotANoopError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{options.cluster}, {len(kept.hosts)} members\n{'':40}{'time':>9}{'network':>13}{'memory':>11}")
    for cost in costs:
        figures = f"{cost.seconds:>7.1f} s{cost.network / 2**20:>9.1f} MiB{cost.memory / 2**20:>7.0f} MiB"
        print(f"{cost.what:40}{figures}  {cost.note}".rstrip(), flush=True)
    return 0


def opened(folder: Path, cluster: str, temporary: Path) -> Kept:
    """The cluster of a lab. Raises NotANoopError where there is none of that name."""
    nornir, fleet = open_nornir(folder / "config.yaml")
    members = {name: settings for name, settings in fleet.hosts.items() if settings.cluster.name == cluster}
    if not members:
        raise NotANoopError(f"no cluster {cluster} in {folder}")
    logins = {
        name: f"{nornir.inventory.hosts[name].username or 'root'}@{settings.hostname}"
        for name, settings in members.items()
    }
    urls = {name: settings.client_url for name, settings in members.items()}
    return Kept(folder, cluster, logins, urls, temporary / "snapshots", lab_environment(folder))


def measure(kept: Kept, mib: int) -> Iterator[Cost]:
    """Fill the cluster, and yield what each command costs."""
    first = next(iter(kept.hosts))
    fill(kept, first, mib)
    size = int(kept.on(first, "stat -c %s /var/lib/etcd/member/snap/db"))
    print(f"bench: {mib} MiB of values more, the file of {first} has {size / 2**20:.0f} MiB", flush=True)
    label = f", {size / 2**20:.0f} MiB"
    yield timed(kept, f"by hand{label}", lambda: by_hand(kept, first))
    place = ["--folder", str(kept.snapshots)]
    yield timed(kept, f"backup.py{label}", lambda: peak(kept, kept.ours("backup", *place)))
    yield timed(kept, f"backup.py --drill{label}", lambda: peak(kept, kept.ours("backup", "--drill", *place)))
    place = ["--snapshot-dir", str(kept.snapshots)]
    for host in kept.hosts:
        kept.on(host, "systemctl stop etcd 2>/dev/null || rc-service -q etcd stop")
    yield timed(kept, f"restore.py, what there is{label}", lambda: peak(kept, kept.ours("restore", *place)))
    for host in kept.hosts:
        kept.on(host, "rm -r /var/lib/etcd/member")
    with reads(kept) as served:
        began = time.time()
        command = kept.ours("restore", "latest", "--confirm", kept.cluster, *place)
        cost = timed(kept, f"restore.py latest{label}", lambda: peak(kept, command))
        time.sleep(3)  # for the last reads
    after = {host: min((at for at in times if at > began), default=0.0) for host, times in served.items()}
    if silent := [host for host in after if not after[host]]:
        raise NotANoopError(f"members that no read went through: {', '.join(silent)}")
    first_read, last_read = min(after.values()) - began, max(after.values()) - began
    yield Cost(
        cost.what, cost.seconds, cost.network, cost.memory, f"served after {first_read:.0f} s, by all {last_read:.0f} s"
    )


def fill(kept: Kept, host: str, mib: int) -> None:
    """Put that many MiB of values that no compression shortens into the cluster."""
    count = mib * 2**20 // VALUE
    for begin in range(0, count, AT_ONCE):
        puts = [
            f"put /registry/bench/{number} {base64.b64encode(os.urandom(VALUE * 3 // 4)).decode()}"
            for number in range(begin, min(begin + AT_ONCE, count))
        ]
        kept.on(host, "etcdctl txn >/dev/null", "\n".join(["", *puts, "", "", ""]).encode())


def by_hand(kept: Kept, host: str) -> int:
    """A snapshot as it is taken without this project; 0, since etcdctl's memory is the host's."""
    kept.snapshots.mkdir(exist_ok=True)
    kept.on(host, f"{kept.etcdctl(host)} snapshot save /var/tmp/by-hand.db 2>&1")
    with (kept.snapshots.parent / "by-hand.db").open("wb") as file:
        subprocess.run(kept.shell(host, "cat /var/tmp/by-hand.db"), stdout=file, check=True)
    kept.on(host, "rm /var/tmp/by-hand.db")
    return 0


def peak(kept: Kept, command: Sequence[str]) -> int:
    """Run a command; returns the most memory that it had, in bytes. Raises NotANoopError when it failed."""
    with tempfile.TemporaryFile() as said:
        environment = {**os.environ, **kept.environment}
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=kept.snapshots.parent)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise NotANoopError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read().decode()}")
    return usage.ru_maxrss * 1024


def timed(kept: Kept, what: str, run: Callable[[], int]) -> Cost:
    """What a command costs."""
    before, began = kept.traffic(), time.monotonic()
    memory = run()
    seconds = time.monotonic() - began
    return Cost(what, seconds, kept.traffic() - before, memory)


@contextmanager
def reads(kept: Kept) -> Iterator[Mapping[str, list[float]]]:
    """The times at which a linearizable read through each host's member went well, as seconds since 1970."""
    served: dict[str, list[float]] = {host: [] for host in kept.hosts}
    with ExitStack() as stack:
        for host in kept.hosts:
            ask = f"{kept.etcdctl(host)} --command-timeout=1s get none >/dev/null 2>&1"
            asking = kept.shell(host, f"while echo $served; do served=; {ask} && served=yes; sleep 1; done")
            process = stack.enter_context(subprocess.Popen(asking, stdout=subprocess.PIPE))
            threading.Thread(target=_noted, args=(process, served[host]), daemon=True).start()
            stack.callback(process.terminate)
        yield served


def _noted(process: subprocess.Popen[bytes], times: list[float]) -> None:
    assert process.stdout
    times.extend(time.time() for line in process.stdout if line.strip())


if __name__ == "__main__":
    sys.exit(main())
