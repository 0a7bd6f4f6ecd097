"""What runbooks have in common that work on one whole cluster, once its name was typed."""

from __future__ import annotations

import argparse
from typing import Any

from etcdfleet.errors import UsageError
from etcdfleet.program.run import Program


def add_confirm_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument by which the name of the cluster is typed on the command line."""
    parser.add_argument(
        "--confirm", default="", metavar="NAME", help="the cluster's name once more, in place of the question for it"
    )


def only_cluster(program: Program[Any], what: str, hosts: str) -> str:
    """Return the one cluster that was chosen as a whole. Raise `UsageError` where it was not, or not confirmed.

    ``what`` is done to it, in words, and ``hosts`` is what to do about some of its hosts.
    """
    options, confirm = program.options, program.own.confirm
    if options.limit:
        raise UsageError(f"a cluster is {what} as a whole", where="--limit", remedy=f"leave it out; {hosts}")
    if len(options.clusters) != 1 or len(program.clusters) != 1:
        clusters = ", ".join(program.clusters)
        raise UsageError(
            f"one cluster is {what} at a time", where="--cluster", remedy=f"add --cluster with one of: {clusters}"
        )
    (cluster,) = program.clusters
    if confirm and confirm != cluster:
        raise UsageError(
            f"{confirm!r} is not the name of the cluster, which is {cluster!r}",
            where="--confirm",
            remedy="type the name of the cluster that you mean in both places",
        )
    return cluster
