"""When a restart of members is noticed by clients, which is asked for before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def interruption(members: int, order: Sequence[str], schemes: Mapping[str, str], wanted: str) -> str:
    """Return what clients of a cluster notice of a rolling restart, in words; empty when they notice nothing.

    ``members`` is the cluster's size, ``order`` the hosts that are restarted one after the other. ``schemes`` has
    ``http`` or ``https`` for each host whose member answers clients now, ``wanted`` what it is to be.
    """
    serving = [host for host in order if host in schemes]
    if not serving:
        return ""
    noticed = []
    if members <= 2:
        why = "it has a single member" if members == 1 else "both of two members are needed"
        noticed.append(f"while {' and then '.join(serving)} restarts, the cluster answers no requests, since {why}")
    if any(schemes[host] != wanted for host in serving):
        how = "https and a client certificate" if wanted == "https" else "plain http, without TLS"
        noticed.append(f"from then on clients need {how}; those that come as before are refused")
    return "; ".join(noticed)
