"""The deepest verification of a cluster: what ``runbooks/verify.py`` proves."""

from __future__ import annotations

from etcdfleet.program.run import Run
from plays.options import VerifyOptions
from tasks.certificates.issuing import Issuing
from tasks.verify import member
from tasks.verify.deep import Deep


def verify(run: Run[VerifyOptions], token: str, issuing: Issuing) -> None:
    """Verify all hosts in one step. ``token`` names the keys that are written and deleted."""
    run.step("verify", member.verify, deep=Deep(token, write=not run.own.no_write, issuing=issuing))
