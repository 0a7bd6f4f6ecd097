"""What a change of etcd's configuration file means to a member that runs, and to one that is to start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import yaml

from etcdfleet.roles import SIDES, Side

ClusterState: TypeAlias = Literal["new", "existing"]
"""``initial-cluster-state``: whether a member without data begins a new cluster with the others, or joins theirs."""

BOOTSTRAP_KEYS = frozenset({"initial-cluster", "initial-cluster-state", "initial-cluster-token"})
"""What etcd reads only while there is no log in its data directory (``bootstrap`` in ``server/etcdserver``, in 3.4
``NewServer``; measured with 3.4.23, 3.5.1 and 3.5.30: restarts with other values change nothing)."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def state_in(content: bytes | None) -> ClusterState | None:
    """Return the ``initial-cluster-state`` of a configuration file; None where it says neither."""
    state = (_parsed(content) or {}).get("initial-cluster-state")
    return state if state in ("new", "existing") else None


def data_dir_in(content: bytes | None) -> str:
    """Return the ``data-dir`` of a configuration file; empty where it has none."""
    return str((_parsed(content) or {}).get("data-dir") or "")


def quota_in(content: bytes | None) -> int | None:
    """Return the ``quota-backend-bytes`` of a configuration file; None where it has none."""
    quota = (_parsed(content) or {}).get("quota-backend-bytes")
    return quota if isinstance(quota, int) else None


@lru_cache(maxsize=256)  # asked for several times of each host, and read for some milliseconds each time
def anchors_in(content: bytes | None) -> Mapping[Side, str] | None:
    """Return the files of trust anchors (``trusted-ca-file``) that a configuration file names, by side.

    None where nothing can be told, since no etcd starts with such a file (or there is none): one that runs was started
    with another. Taken for a file without anchors, a live member would be one that no other depends on.
    """
    settings = _parsed(content)
    if settings is None:
        return None
    files: dict[Side, str] = {}
    for side in SIDES:
        section = settings.get(f"{side}-transport-security") or {}
        file = (section.get("trusted-ca-file") or "") if isinstance(section, dict) else None
        if not isinstance(file, str):
            return None
        if file:
            files[side] = file
    return files


def needs_restart(there: bytes, wanted: bytes) -> bool:
    """Return whether a member that runs with the file ``there`` must be restarted for ``wanted`` to take effect.

    Not for another comment, nor for a key that counts at a first start alone. A file that cannot be read always does.
    """
    before, after = _parsed(there), _parsed(wanted)
    if before is None or after is None:
        return True
    return {key: value for key, value in before.items() if key not in BOOTSTRAP_KEYS} != {
        key: value for key, value in after.items() if key not in BOOTSTRAP_KEYS
    }


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    try:
        document = yaml.load(content or b"", Loader=_LOADER)  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError):  # no text, or a value that cannot be, such as the date 2001-13-45
        return None
    return document if isinstance(document, dict) else None
