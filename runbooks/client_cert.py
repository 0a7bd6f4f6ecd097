#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Make a client certificate for a person or a program, ready for etcdctl."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Run, run_runbook
from etcdfleet.settings.units import go_duration, parse_duration

STEPS = [("certificate", "Certificate")]

DESCRIPTION = """\
Makes a private key on this machine, has Vault sign a certificate whose common name is NAME, checks it, and writes both
with the CAs by which members are known and an environment file for etcdctl. To etcd, whoever has it is user NAME, with
the roles that auth.users gives them. The key goes nowhere. Hosts are looked at, so that what is made works with the
members as they are, while a CA changes, too; nothing is changed on them."""

EXAMPLES = """\
  python runbooks/client_cert.py alice --cluster k8s-home
  python runbooks/client_cert.py backup --ttl 24h --out /etc/backup/etcd
  python runbooks/client_cert.py alice --ca-only                a ca.pem with both CAs, while a CA changes
  . clients/k8s-home/alice/alice.env; etcdctl get --prefix /app/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This runbook's own arguments."""
    parser.add_argument("name", metavar="NAME", help="the user in etcd; the certificate's common name")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: clients/CLUSTER/NAME below the project)"
    )
    parser.add_argument(
        "--ttl",
        type=_duration,
        metavar="TIME",
        help="how long it is good for, such as 24h or 30d (auth.certificate_ttl)",
    )
    parser.add_argument(
        "--ca-only",
        action="store_true",
        help="write ca.pem alone, by which clients know members: what is to be handed out before a CA changes",
    )


def client_cert(run: Run) -> None:
    """Check what was asked for, then make the certificate."""
    from etcdfleet.client_files import client_files
    from etcdfleet.errors import UsageError
    from etcdfleet.program.options import PROJECT
    from etcdfleet.settings.auth import ROOT
    from tasks.client import ClientRequest, client_certificate, look_at_members

    if len(run.clusters) != 1:
        raise UsageError("a certificate is for one cluster", remedy=f"add --cluster: {', '.join(run.clusters)}")
    cluster = next(iter(run.clusters))
    settings = run.fleet.clusters[cluster][0]
    name = run.options.extra["name"]
    files = client_files(run.options.extra["out"] or PROJECT / "clients" / cluster / name, name)
    if not settings.cluster.client_tls:
        raise UsageError(
            f"cluster {cluster} has no TLS for clients, so nobody can show a certificate", where="cluster.client_tls"
        )
    if settings.pki.source != "vault":
        raise UsageError(
            "this makes certificates by Vault, and the ones of this cluster come from files",
            where="pki.source",
            remedy="make it where those files are made: cfssl gencert with the CA's key, a profile for clients, and "
            f"CN {name}",
        )
    powerful = {ROOT, settings.pki.client_common_name}
    ca_only = run.options.extra["ca_only"]
    if name in powerful and not run.options.yes and not ca_only:
        raise UsageError(
            f"{name} may do everything in etcd", where="NAME", remedy="add --yes if a certificate for that is meant"
        )
    if files.existing and not run.options.yes and not run.options.check and not ca_only:
        raise UsageError(
            f"{files.existing[0]} is there already",
            remedy="add --yes to replace it, or choose another folder with --out",
        )
    ttl: timedelta = run.options.extra["ttl"] or settings.auth.certificate_ttl
    if ttl > settings.auth.certificate_max_ttl:
        raise UsageError(
            f"{go_duration(ttl)} is longer than {go_duration(settings.auth.certificate_max_ttl)}, the longest allowed",
            where="--ttl",
            remedy="ask for less, or raise auth.certificate_max_ttl in the inventory",
        )
    row, request = run.clusters[cluster][0], ClientRequest(name, ttl, files)
    seen = look_at_members(run, cluster)
    run.step(
        "certificate", client_certificate, only=[row], settings=settings, request=request, seen=seen, ca_only=ca_only
    )
    if row in run.good_hosts and not run.options.check:
        changes = run.record.record.hosts[row].steps["certificate"].changes
        run.say(changes[-1] if ca_only else files.environment.read_text().strip())


def _duration(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: write 24h, 30d or 1h30m") from None
    if not found:
        raise argparse.ArgumentTypeError("a certificate cannot end before it begins")
    return found


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "client_cert",
            client_cert,
            description=DESCRIPTION,
            steps=STEPS,
            examples=EXAMPLES,
            add_arguments=add_arguments,
            rows="clusters",
        )
    )
