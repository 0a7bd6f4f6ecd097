"""Changes of CAs in the lab's Vault, as an administrator makes them: with its API, past the code under test."""

from __future__ import annotations

from dataclasses import dataclass

import hvac

import lab.vault
from lab import pki
from tests.lab.conftest import LabHandle

_KIND = {"key_type": "ec", "key_bits": 256}


def default_issuer(root: hvac.Client, mount: str) -> str:
    """The id of the issuer that a mount uses."""
    return str(root.read(f"{mount}/config/issuers")["data"]["default"])


def use(root: hvac.Client, mount: str, issuer: str) -> None:
    """Lets another issuer of a mount be its default."""
    root.write_data(f"{mount}/config/issuers", data={"default": issuer})


def new_issuing_ca(handle: LabHandle, cluster: str, sides: tuple[str, ...] = ("peer", "client")) -> None:
    """Another CA in each of a cluster's mounts, below the same root, that issues from now on."""
    root = lab.vault.client(handle.plan)
    for side in sides:
        another_ca(root, pki.side_mount(cluster, side), f"etcd {cluster} {side} CA the second")


def another_ca(root: hvac.Client, mount: str, name: str) -> str:
    """Another CA in a mount, below the root that is the default now; the mount's default from now on. Its PEM."""
    csr = root.write_data(f"{mount}/intermediate/generate/internal", data={"common_name": name, **_KIND})["data"]["csr"]
    signing = {"csr": csr, "ttl": pki.INTERMEDIATE_TTL, "use_csr_values": True, "format": "pem_bundle"}
    signed = root.write_data(f"{pki.ROOT}/root/sign-intermediate", data=signing)["data"]
    chain = f"{signed['certificate'].strip()}\n{signed['issuing_ca'].strip()}\n"
    made = root.write_data(f"{mount}/intermediate/set-signed", data={"certificate": chain})["data"]
    use(root, mount, next(found for found, key in made["mapping"].items() if key))
    return str(signed["certificate"])


@dataclass(frozen=True)
class CrossSigned:
    """The mount of intermediates with one CA under two roots: ids of issuers, and the roots' certificates."""

    root: hvac.Client
    old_root: str
    new_root: str
    own: str
    """The intermediate as the old root signed it."""
    cross: str
    """The same CA as the new root signed it."""
    roots: str
    """Both roots, as PEM."""

    def issue_by(self, issuer: str, manual_chain: tuple[str, ...] = ()) -> None:
        """``issuer`` issues from now on; ``manual_chain`` is what Vault gives as its chain."""
        if manual_chain:
            self.root.write_data(f"{pki.INTERMEDIATE}/issuer/{issuer}", data={"manual_chain": ",".join(manual_chain)})
        use(self.root, pki.INTERMEDIATE, issuer)

    def anchor(self, root: str) -> None:
        """Makes a root the one that the inventory's ``trust_anchor`` finds."""
        self.root.write_data(f"{pki.ROOT}/root/replace", data={"default": root})


def cross_sign(handle: LabHandle) -> CrossSigned:
    """A rotation of the root as OpenBao's documents have it: a new root, which signs the intermediate's key as well.

    Nothing of it is used yet.
    """
    root = lab.vault.client(handle.plan)
    old_root, own = default_issuer(root, pki.ROOT), default_issuer(root, pki.INTERMEDIATE)
    wanted = {"common_name": "Home Root CA x2", "issuer_name": "x2", "ttl": pki.ROOT_TTL, **_KIND}
    new = root.write_data(f"{pki.ROOT}/root/rotate/internal", data=wanted)["data"]
    issuer = root.read(f"{pki.INTERMEDIATE}/issuer/{own}")["data"]
    name = {"common_name": "Home Intermediate CA", "organization": "Home Network", "key_ref": issuer["key_id"]}
    csr = root.write_data(f"{pki.INTERMEDIATE}/intermediate/cross-sign", data=name)["data"]["csr"]
    signing = {"csr": csr, "ttl": pki.INTERMEDIATE_TTL, "use_csr_values": True, "format": "pem"}
    signed = root.write_data(f"{pki.ROOT}/issuer/x2/sign-intermediate", data=signing)["data"]
    certificate = {"certificate": signed["certificate"]}
    made = root.write_data(f"{pki.INTERMEDIATE}/intermediate/set-signed", data=certificate)["data"]
    old = str(root.read(f"{pki.ROOT}/issuer/{old_root}")["data"]["certificate"])
    return CrossSigned(
        root,
        old_root,
        str(new["issuer_id"]),
        own,
        next(found for found, key in made["mapping"].items() if key),
        f"{old.strip()}\n{str(new['certificate']).strip()}\n",
    )
