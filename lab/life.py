"""The life of a lab: up, down, status. Every step does only what is not done yet, so each can be run again."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, daemons, hosts, images, machine, names, network, state, topology
from lab.errors import LabError, LabUsageError
from lab.state import Lab, LabHost

Say = Callable[[str], None]


@contextmanager
def lock(name: str, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lab's own lock: one command at a time changes it.

    Another command that holds it is waited for, ``wait_seconds`` at most; then raises LabError.
    """
    machine.NOTES.mkdir(mode=0o755, exist_ok=True)
    with (machine.NOTES / f"{state.lab_id(state.lab_dir(name))}.lock").open("w") as file:
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LabError(
                        "another command is working on this lab", where=f"lab {name}", remedy="wait until it is done"
                    ) from None
            time.sleep(0.05)
        yield


def up(name: str, topology_file: Path | None, say: Say) -> Lab:
    """Bring the lab up, or whatever is missing of one that is partly up. Raises LabError and LabUsageError."""
    lab = _planned(name, topology_file, say)
    arm = any(host.kind == "debian-armhf" for host in lab.hosts)
    machine.check(arm=arm)
    with machine.lock():
        machine.register(lab)
        if arm:
            machine.emulate_arm()
    folders = images.ensure([host.image for host in lab.hosts], say, lab.cgroup)
    hosts.make_keys(lab)
    network.setup(lab)
    names.up(lab)
    names.add_to_controller(lab, say)
    say(f"booting {len(lab.hosts)} hosts on {lab.subnet}")
    jobs: list[Callable[[], None]] = [lambda: _services_up(lab)]
    jobs += [_boot(lab, host, folders[host.image]) for host in lab.hosts]
    together(jobs)
    _write_user_files(lab)
    return lab


def _planned(name: str, topology_file: Path | None, say: Say) -> Lab:
    """Return the lab as it was brought up before, or a new one on a free subnet, noted at once for `down` to find."""
    existing = state.load(name)
    if existing is not None:
        if topology_file is not None:
            same = topology.lay_out(topology.read(topology_file), name, existing.dir, existing.subnet)
            if same != existing:
                raise LabUsageError(
                    "this lab exists with other hosts",
                    where=f"lab {name}",
                    remedy=f"python -m lab down --name {name}, or choose another --name",
                )
        say(f"lab {name} exists: starting what does not run")
        return existing
    wanted = topology.read(topology_file or topology.DEFAULT)
    machine.check()
    folder = state.lab_dir(name)
    if any(character in str(folder) for character in ":,\\ "):
        raise LabUsageError(
            "the path of the project must not contain a colon, comma, backslash or space",
            where=str(folder),
            remedy="these separate mount options; move the project",
        )
    with machine.lock():
        used = machine.used_subnets()
        subnet = wanted.subnet or topology.free_subnet(len(wanted.hosts), used)
        if clash := [str(network_) for network_ in used if network_.overlaps(subnet)]:
            raise LabUsageError(
                f"the subnet {subnet} overlaps {', '.join(clash)}, which this machine or another lab uses",
                where="subnet",
                remedy="choose another, or leave `subnet` out to get a free one",
            )
        lab = topology.lay_out(wanted, name, folder, subnet)
        folder.mkdir(parents=True, exist_ok=True)
        lab.save()
        machine.register(lab)
    return lab


def _boot(lab: Lab, host: LabHost, image: Path) -> Callable[[], None]:
    def boot() -> None:
        hosts.start(lab, host, image)
        hosts.wait(lab, host)

    return boot


def together(jobs: list[Callable[[], None]]) -> None:
    """Run all jobs side by side and wait for all of them; raises one LabError that holds every failure."""
    failures = []
    with ThreadPoolExecutor(max_workers=max(1, min(len(jobs), 32))) as pool:
        for done in as_completed([pool.submit(job) for job in jobs]):
            try:
                done.result()
            except LabError as error:
                failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise LabError(f"{len(failures)} things failed:\n" + "\n".join(map(str, failures)), remedy="see each of them")


def _services_up(lab: Lab) -> None:
    from lab import apkrepo, vault

    vault.up(lab)
    if any(host.kind == "alpine" for host in lab.hosts):
        apkrepo.up(lab)


def _write_user_files(lab: Lab) -> None:
    from lab import userfiles

    userfiles.write(lab)


def down(name: str, say: Say) -> None:
    """End the lab and remove all of it, whatever state it is in. Touches nothing without the lab's mark.

    Raises LabError, naming it, if something cannot be removed; what could be is gone then.
    """
    machine.check()
    folder = state.lab_dir(name)
    identity = state.lab_id(folder)
    group = f"etcdfleet-{identity}"
    existed = folder.exists() or bool(network.leftovers(identity)) or bool(list(cgroups.folders(group)))
    cgroups.kill(group)
    cgroups.remove(group)
    for root in (folder / "hosts").glob("*/root"):
        hosts.forget_lock(root)
    hosts.unmount(folder)
    network.teardown(identity)
    hosts.forget(identity)
    with machine.lock():
        names.remove_from_controller(identity)
        _delete(folder)
        machine.release(identity)
    say(f"lab {name} is down" if existed else f"there is no lab {name}")


def _delete(folder: Path) -> None:
    if not folder.exists():
        return
    if folder.is_symlink() or not ((folder / "lab.json").exists() or not any(folder.iterdir())):
        raise LabError(
            "this folder was not made by the lab (it has no lab.json): left alone",
            where=str(folder),
            remedy="look into it and remove it yourself",
        )
    if mounted := hosts.mounts_in(folder):
        raise LabError("still mounted", where=mounted[-1], remedy="end what uses it, then `down` again")
    for entry in folder.iterdir():
        if entry.name != "lab.json":  # the mark goes last: a `down` that is cut off is simply run again
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    (folder / "lab.json").unlink(missing_ok=True)
    folder.rmdir()


@dataclass(frozen=True)
class HostStatus:
    """What one host does: ``state`` is ``off``, ``booting``, ``up`` or ``cut off``."""

    host: LabHost
    state: str
    processes: int


def status(lab: Lab) -> tuple[list[HostStatus], dict[str, bool]]:
    """Return the state of every host, and of every other daemon ever started in the lab (alive or not)."""
    statuses = []
    for host in lab.hosts:
        count = len(cgroups.processes(f"{lab.cgroup}/{hosts.daemon(host)}"))
        if not daemons.running(lab, hosts.daemon(host)):
            what = "off"
        elif network.is_cut(lab, host):
            what = "cut off"
        else:
            what = "up" if hosts.ssh_answers(host) else "booting"
        statuses.append(HostStatus(host, what, count))
    others = [record.stem for record in sorted((lab.dir / "run").glob("*.json")) if not record.stem.startswith("host-")]
    return statuses, {name: daemons.running(lab, name) for name in others}
