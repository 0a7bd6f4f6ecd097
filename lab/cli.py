"""The command line of the lab."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from etcdfleet.errors import FleetError, UsageError
from lab import hosts, life, machine, network, releases, state
from lab.state import Lab

DESCRIPTION = "Real hosts on one Linux machine: systemd-nspawn containers with their own network, sshd and init system."
EPILOG = """\
After `up`, everything a user of the framework needs is in .lab/NAME/: config.yaml, the inventory, an SSH key, and
`env` to be sourced. Exit codes: 0 done, 1 it failed, 2 wrong use; `exec` gives the command's own.
"""

HOST_COMMAND_WAIT_SECONDS = 60.0
"""A command about one host is soon done: another one waits for it. One about the whole lab is not waited for."""


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", default="demo", help="name of the lab (default: demo)")
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[shared], help=text, description=text)

    command = add("up", "bring the lab up; again: start what does not run")
    command.add_argument("topology", nargs="?", type=Path, help="topology file (default: two clusters of three hosts)")
    add("down", "end the lab and remove all of it")
    add("status", "show hosts and daemons")
    command = add("release", "build a release archive of a newer etcd, and print the inventory's lines to use it")
    command.add_argument("version", nargs="?", help="compiled from etcd's modules (default: what Debian's sid has)")
    command.add_argument("--arch", default=releases.ARCHITECTURE, help="with a version: as build_etcd.py takes it")
    command = add("exec", "run a command as root in a host, without SSH (a single word is given to its shell)")
    command.add_argument("host")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    for name, text in {
        "stop": "pull a host's power cord",
        "start": "boot a stopped host, with the disk it had",
        "cut": "pull a host's network cable",
        "heal": "plug it in again",
    }.items():
        add(name, text).add_argument("host")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        state.check_name(options.name)
        return _dispatch(options)
    except UsageError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except FleetError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = f"python -m lab down --name {options.name}"
        print(f"\nlab: interrupted\n  remedy: run it again, or: {again}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, such as `| head`
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"lab: {error}\n  remedy: python -m lab down --name {options.name}, then up", file=sys.stderr)
        return 1


def _say(text: str) -> None:
    print(f"lab: {text}", flush=True)


def _dispatch(options: argparse.Namespace) -> int:
    if options.command == "up":
        return _up(options)
    if options.command == "down":
        machine.check()
        with life.lock(options.name):
            life.down(options.name, _say)
        return 0
    if options.command == "release":
        return _release(options)
    lab = state.require(options.name)
    if options.command == "status":
        return _status(lab)
    machine.check()
    host = lab.host(options.host)
    if options.command == "exec":
        if not options.argv:
            raise UsageError("no command given", where="exec", remedy="python -m lab exec HOST CMD…")
        return subprocess.run(hosts.enter_command(lab, host, options.argv), check=False).returncode
    with life.lock(options.name, HOST_COMMAND_WAIT_SECONDS):
        if options.command == "stop":
            hosts.stop(lab, host)
        elif options.command == "start":
            hosts.start(lab, host)
            hosts.wait(lab, host)
        elif options.command == "cut":
            network.cut(lab, host)
        else:
            network.heal(lab, host)
    return 0


def _up(options: argparse.Namespace) -> int:
    machine.check()
    began = time.monotonic()
    with life.lock(options.name):
        lab = life.up(options.name, options.topology, _say)
    _say(f"lab {lab.name} is up: {len(lab.hosts)} hosts in {time.monotonic() - began:.1f} s")
    _print_hosts(lab)
    return 0


def _release(options: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(f"lab: {text}", file=sys.stderr, flush=True)

    made = releases.built(options.version, options.arch.split(","), say) if options.version else [releases.newer(say)]
    print(f"install:\n  method: archive\n  version: {made[0].version}\n  releases:\n    {made[0].version}:")
    for release in made:
        print(f"      {release.architecture}: {{file: {release.file}, sha256: {release.sha256}}}")
    return 0


def _print_hosts(lab: Lab, notes: dict[str, str] | None = None) -> None:
    width = max(len(host.name) for host in lab.hosts)
    fqdn_width = max(len(host.fqdn) for host in lab.hosts)
    for host in lab.hosts:
        login = f"{host.login}@{host.address}"
        note = (notes or {}).get(host.name, "")
        print(f"  {host.name:<{width}}  {login:<20}  {host.fqdn:<{fqdn_width}}  {host.kind:<12}  {note}".rstrip())


def _status(lab: Lab) -> int:
    statuses, others = life.status(lab)
    print(f"lab {lab.name} on {lab.subnet}, controller at {lab.address} ({lab.vault_name})")
    _print_hosts(lab, {item.host.name: f"{item.state}, {item.processes} processes" for item in statuses})
    for name, alive in others.items():
        print(f"  {name}: {'runs' if alive else 'has ended'}")
    return 0
