#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Make a client certificate for a person or a program, ready for etcdctl."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Program, run_runbook
from etcdfleet.text import parse_duration
from plays.options import ClientOptions

STEPS = [("certificate", "Certificate")]

DESCRIPTION = """\
Makes a private key on this machine, has Vault sign a certificate whose common name is NAME, checks it, and writes both
with the CAs by which members are known and an environment file for etcdctl. To etcd, its bearer is user NAME, with
the roles that auth.users gives them. The key stays on this machine. Hosts are read, so that what is made works with the
members as they are, while a CA changes, too; nothing is changed on them."""

EXAMPLES = """\
  python runbooks/client_cert.py alice --cluster k8s-home
  python runbooks/client_cert.py backup --ttl 24h --out /etc/backup/etcd
  python runbooks/client_cert.py alice --ca-only                a ca.pem with both CAs, while a CA changes
  . clients/k8s-home/alice/alice.env; etcdctl get --prefix /app/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
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


def client_cert(program: Program[ClientOptions]) -> None:
    """Check what was asked for, then make the certificate."""
    from plays.client_cert import client_cert as make

    make(program)


def _duration(text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: write 24h, 30d or 1h30m") from None
    if not duration:
        raise argparse.ArgumentTypeError("a certificate cannot end before it begins")
    return duration


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "client_cert",
            client_cert,
            description=DESCRIPTION,
            steps=STEPS,
            own=ClientOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
            rows="clusters",
        )
    )
