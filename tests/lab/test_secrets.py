"""No secret where it does not belong: a first deploy, as talkative as it can be, and then a search of everything.

By default private keys are made on the hosts and are nowhere else. Then all certificates are lost, and come anew with
``pki.key_origin: vault``: the keys are in Vault's answers, and as before in nothing that is left behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import pytest

from lab import daemons, hosts, pki, vault
from lab.state import PROJECT
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    TOPOLOGIES,
    Outcome,
    deploy,
    inventory_variant,
    on_host,
    output,
    own_lab,
    wait_for,
)
from tests.lab.secret_search import Needles, Samples, files_below, sampling

HOSTS = ("s-alpine", "s-debian")
WORDS = ("VAULT_TOKEN", "ETCDFLEET_SUDO_PASSWORD")


@dataclass(frozen=True)
class Deployed:
    """A lab after a deploy that was watched, and all that Vault answered meanwhile; ``origin`` is who made the keys."""

    handle: LabHandle
    origin: str
    outcome: Outcome
    samples: Samples
    answers: list[dict[str, Any]] = field(repr=False)
    needles: Needles = field(repr=False)


@pytest.fixture(scope="module")
def handle(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-secrets", TOPOLOGIES / "secrets.yaml") as handle:
        tell_all(handle)
        yield handle


@pytest.fixture(scope="module", params=["host", "vault"])
def deployed(handle: LabHandle, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Deployed:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"]["key_origin"] = "vault"

    config = None
    if request.param == "vault":
        config = inventory_variant(handle, tmp_path_factory.mktemp("vault"), edit)
        for host in HOSTS:
            output(handle, host, f"mkdir -p {CERTS} && cd {CERTS} && rm -rf sets server client etcdctl")
    before = len(answers(handle))
    with sampling(handle.plan.cgroup) as samples:
        # Said with everything on: what is logged in detail is where secrets slip out.
        outcome = deploy(handle, "--debug", "--verbose", "--diff", config=config, own_python=True)
        again = deploy(handle, "--debug", "--verbose", "--diff", config=config, own_python=True)
    assert outcome.exit_code == 0, outcome.text
    assert again.exit_code == 0, again.text
    keys = {}
    for host in HOSTS:
        for path in output(handle, host, f"find {CERTS}/sets -name '*.key'").split():
            keys[f"{host} {path}"] = output(handle, host, f"cat {path}")
    assert len(keys) == 6
    words = {name: handle.env[name] for name in WORDS}
    return Deployed(handle, request.param, outcome, samples, answers(handle)[before:], Needles.of(keys, words))


def tell_all(handle: LabHandle) -> None:
    """Have the lab's Vault write down each request and each answer, nothing left out."""
    file, log = handle.dir / "vault" / "server.json", audit_log(handle)
    config = json.loads(file.read_text())
    # Without the description, its parser would take "options" for one more name of the device.
    device = {"description": "for a test", "options": {"file_path": str(log), "log_raw": "true"}}
    config["audit"] = [{"file": {"all": device}}]
    file.write_text(json.dumps(config))
    daemons.signal_main(handle.plan, vault.DAEMON, signal.SIGHUP)
    wait_for("Vault writes down what it answers", lambda: asked(handle), timeout=30)


def asked(handle: LabHandle) -> bool:
    try:
        vault.client(handle.plan).read(f"{pki.ROOT}/cert/ca")
    except hvac.exceptions.InternalServerError:
        return False  # it answers nothing that it cannot write down, and the device is just being opened
    return audit_log(handle).exists() and answers(handle) != []


def audit_log(handle: LabHandle) -> Path:
    return handle.dir / "vault" / "audit.log"


def answers(handle: LabHandle) -> list[dict[str, Any]]:
    """What Vault has answered so far."""
    entries = [json.loads(line) for line in audit_log(handle).read_text().splitlines()]
    return [entry for entry in entries if entry["type"] == "response"]


def root(handle: LabHandle, host: str) -> Path:
    """The host's whole file system, with what is in its memory only (/run, /tmp, /dev/shm), from the controller."""
    pid = hosts.init_pid(handle.plan, handle.plan.host(host))
    return Path(f"/proc/{pid}/root")


def found_on_host(deployed: Deployed, host: str) -> dict[str, list[str]]:
    """Secrets in any file that the host has beyond its image, except where they belong."""
    lab = deployed.handle.plan
    upper, live = lab.host_dir(lab.host(host)) / "upper", root(deployed.handle, host)
    volatile = [live / name for name in ("run", "tmp", "dev/shm", "var/tmp")]
    found = deployed.needles.in_files(files_below(upper, *volatile))
    places = {path: path.removeprefix(str(upper)).removeprefix(str(live)) for path in found}
    wrong = {place: [name for name in found[path] if not belongs(place, name)] for path, place in places.items()}
    return {place: names for place, names in wrong.items() if names}


def belongs(place: str, name: str) -> bool:
    """Whether a private key has its place there: those that were issued, and the host's own for SSH."""
    issued = place.startswith(f"{CERTS}/sets/") and place.endswith(".key")
    return (issued or place.startswith("/etc/ssh/ssh_host_")) and not name.startswith(WORDS)


def journal(handle: LabHandle, host: str) -> bytes:
    """The journal as text, since its files are compressed (a host without one has its logs in files)."""
    return on_host(handle, host, "journalctl -q --no-pager -o export 2>/dev/null || true").stdout.encode()


def controllers_files(handle: LabHandle) -> Iterator[Path]:
    """What there is in the project's folder and in what runs wrote, without the lab's own Vault and disks."""
    others = {".git", ".venv", ".lab", ".cache", ".mypy_cache", ".ruff_cache"}
    yield from files_below(*(path for path in PROJECT.iterdir() if path.is_dir() and path.name not in others))
    yield from (path for path in PROJECT.iterdir() if path.is_file())
    known = {"vault", "hosts", "env", "id_ed25519", "sudo-password"}
    for path in handle.dir.iterdir():
        if path.name not in known:
            yield from files_below(path) if path.is_dir() else [path]


def test_vault_has_only_the_keys_that_it_makes(deployed: Deployed) -> None:
    """Those made on the hosts do not leave them, not even towards Vault: it gets requests, and gives certificates.

    The keys that Vault makes are found in its answers, which proves the search.
    """
    text = json.dumps(deployed.answers)  # each has its request with it
    found = {key_of(name) for name in deployed.needles.in_bytes(text.encode()) if not name.startswith(WORDS)}
    roles = [name for cluster in ("s-edge", "s-home") for name in pki.role_names(cluster).values()]
    verb = "sign" if deployed.origin == "host" else "issue"
    assert certified(deployed) == sorted((verb, name) for name in roles)
    if deployed.origin == "host":
        assert found == set()
        assert "private_key" not in text
    else:
        assert found == {
            "a private key",
            *(key_of(name) for name in deployed.needles.by_name if not name.startswith(WORDS)),
        }


def key_of(needle: str) -> str:
    """Host and file of the key that a needle is a part of."""
    return needle.partition(",")[0]


def certified(deployed: Deployed) -> list[tuple[str, str]]:
    """How certificates were asked for, and by which role, for all requests that Vault granted."""
    paths = [entry["request"]["path"].split("/") for entry in deployed.answers if not entry.get("error")]
    return sorted((path[-2], path[-1]) for path in paths if path[-2] in ("issue", "sign"))


def test_reports_and_output_have_no_secret(deployed: Deployed) -> None:
    files = list(files_below(deployed.handle.dir / "runs"))
    assert {path.name for path in files} >= {"report.json", "deploy.log", "stdout", "stderr", "events.ndjson"}
    assert "certificates" in deployed.outcome.log
    assert deployed.needles.in_files(files) == {}
    assert deployed.needles.in_files(controllers_files(deployed.handle)) == {}


def test_process_lists_have_no_secret(deployed: Deployed) -> None:
    samples = deployed.samples
    assert samples.looks > 100
    lines = b"\n".join(samples.lines)
    assert b"runbooks/deploy.py" in lines, "the controller was watched"
    assert b"--config-file=/etc/etcd/conf.yml" in lines, "the hosts were watched"
    assert deployed.needles.in_bytes(lines) == []
    assert deployed.needles.in_bytes(b"\n".join(samples.environments)) == []


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_have_keys_in_their_place_only(deployed: Deployed, host: str) -> None:
    assert found_on_host(deployed, host) == {}
    assert deployed.needles.in_bytes(journal(deployed.handle, host)) == []


# The search itself: each place again, with a secret in it that must be found.


def test_the_search_finds_planted_secrets(deployed: Deployed, tmp_path: Path) -> None:
    handle = deployed.handle
    key = f"$(sed -n 10p $(ls {CERTS}/sets/*/*.key | head -n 1))"
    for host in HOSTS:
        spots = ("/tmp/planted", "/run/planted", "/var/log/planted", "/root/planted")
        planted = " ".join(spots)
        try:
            output(handle, host, f"for p in {planted}; do printf 'x%s' {key} > $p; done")
            assert set(spots) <= found_on_host(deployed, host).keys()
            output(
                handle, host, f"for p in {planted}; do (printf ab; cat {CERTS}/sets/*/*.key) | base64 -w 0 > $p; done"
            )
            assert set(spots) <= found_on_host(deployed, host).keys()
        finally:
            output(handle, host, f"rm -f {planted}")
        assert found_on_host(deployed, host) == {}
    output(handle, "s-debian", f"echo {key} | systemd-cat -t planted; journalctl --sync")
    assert deployed.needles.in_bytes(journal(handle, "s-debian"))
    report = tmp_path / "report.json"
    report.write_text(f'{{"token": "{handle.env["VAULT_TOKEN"]}"}}')
    assert deployed.needles.in_files([report]).keys() == {str(report)}


def test_the_samples_show_short_lived_processes(deployed: Deployed) -> None:
    word = deployed.handle.env["VAULT_TOKEN"]
    with sampling(deployed.handle.plan.cgroup) as samples:
        wait_for("a first look", lambda: samples.looks > 0)
        on_host(deployed.handle, "s-alpine", f"sh -c 'sleep 0.2; :' {word}")
        # Past SSH a command is not among the host's own processes; by SSH it is.
        deployed.handle.ssh("s-alpine", f"SECRET={word} sleep 0.2")
        subprocess.run(["sh", "-c", "sleep 0.2; :", word], check=True)
    assert [line for line in samples.lines if word.encode() in line and b"sleep" in line]
    assert [text for text in samples.environments if word.encode() in text]
