"""Reads what etcdctl 3.4 and newer say about roles, users and authentication (``-w json``)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.auth import Grants, PasswordState, Span
from etcdfleet.settings.auth import Access

NOBODY = "etcdfleet-nobody"
"""A user that is nowhere, to ask for with any password: see `read_enabled`."""

# Values that are zero are left out of the JSON: no permType is READ.
_ACCESS: Mapping[object, Access] = {
    0: "read",
    1: "write",
    2: "readwrite",
    "READ": "read",
    "WRITE": "write",
    "READWRITE": "readwrite",
}
_ERROR = re.compile(r"^Error: +(.*)$", re.MULTILINE)


def read_names(kind: Literal["roles", "users"], rc: int, stdout: str, stderr: str) -> tuple[str, ...]:
    """Return the names in the answer to ``role list`` or ``user list``. Raise VerificationError if it is none."""
    return _names(_answer(f"{kind[:-1]} list", rc, stdout, stderr), kind)


def read_user(rc: int, stdout: str, stderr: str) -> frozenset[str]:
    """Return the roles in the answer to ``user get``. Raise VerificationError if it is none."""
    return frozenset(_names(_answer("user get", rc, stdout, stderr), "roles"))


def read_role(rc: int, stdout: str, stderr: str) -> Grants:
    """Return the permissions in the answer to ``role get``. Raise VerificationError if it is none."""
    answer = _answer("role get", rc, stdout, stderr)
    try:
        return {
            Span(_bytes(one.get("key")), _bytes(one.get("range_end"))): _ACCESS[one.get("permType", 0)]
            for one in answer.get("perm") or ()
        }
    except (AttributeError, KeyError, TypeError, binascii.Error) as error:
        raise VerificationError(f"etcdctl role get gave an answer of an unknown form: {error!r}") from error


def read_enabled(rc: int, stderr: str) -> bool:
    """Return whether authentication is on, from what a request as `NOBODY` with any password gave.

    While it is off, etcd knows no passwords: the client says so (3.4 and 3.5 alike), and goes on without. While it is
    on, the login is refused. etcdctl 3.4 has no ``auth status``. Raises VerificationError when it was neither.
    """
    if rc == 0:
        return False
    if "authentication failed" in stderr:
        return True
    raise VerificationError(
        f"etcd does not say whether its authentication is on: {refusal(stderr)}",
        remedy="see etcd's log on the member that was asked; without a quorum no member can answer",
    )


def read_password(rc: int, stderr: str) -> PasswordState:
    """Return what a request with the wanted password says about it. Raise VerificationError for other refusals."""
    if "no password user" in stderr:
        return "none"
    if "authentication failed" in stderr:
        return "wrong"
    if rc == 0 or "permission denied" in stderr:
        return "right"
    raise VerificationError(
        f"a user's password could not be tried: {refusal(stderr)}",
        remedy="see etcd's log on the member that was asked",
    )


def refusal(stderr: str) -> str:
    """Return why etcdctl failed, in its own words and without the log around them."""
    errors = _ERROR.findall(stderr)
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("{")]
    # etcdctl waits without an end for a member that is not there: one that was ended says nothing.
    reason = str(errors[-1]) if errors else (lines[-1] if lines else "no answer in time")
    return reason.removeprefix("etcdserver: ").strip()[:300]


def _answer(command: str, rc: int, stdout: str, stderr: str) -> dict[str, Any]:
    if rc == 0:
        try:
            answer = json.loads(stdout)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
    raise VerificationError(
        f"etcdctl {command} gave no answer: {refusal(stderr) if rc else 'it is not JSON'}",
        remedy="see etcd's log on the member that was asked; without a quorum no member can answer",
    )


def _names(answer: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    names = answer.get(kind) or ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise VerificationError(f"etcdctl gave {kind} in an unknown form")
    return tuple(names)


def _bytes(encoded: object) -> bytes:
    return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
