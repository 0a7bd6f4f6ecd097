"""The three roles of certificates, and the two sides on which they are shown and trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

RoleName = Literal["peer", "server", "client"]
Usage = Literal["server", "client"]
Side = Literal["peer", "client"]
"""The two sides that etcd keeps apart: its peers, and its clients with the certificate that it shows to them."""

ROLE_NAMES: tuple[RoleName, ...] = ("peer", "server", "client")
ROLE_USAGES: Mapping[RoleName, tuple[Usage, ...]] = {
    "peer": ("server", "client"),
    "server": ("server",),
    "client": ("client",),
}
SIDES: tuple[Side, ...] = ("peer", "client")


def side_of(role: RoleName) -> Side:
    """On which side certificates of a role are shown and trusted."""
    return "peer" if role == "peer" else "client"
