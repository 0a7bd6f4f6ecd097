"""What client_cert.py refuses, with which exit code; and that nothing is written then, and no host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.drivers.certificates.vault import VaultSource
from etcdfleet.outcome import StepOutcome
from etcdfleet.program import main as cli
from etcdfleet.report.record.model import ExitCode
from etcdfleet.settings.vault import VaultPki
from plays import client_cert as play
from tests.unit.runbooks.test_runbooks import asked_for
from tests.unit.support import certs_ca
from tests.unit.support.fake_run import Stage
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory

LIFE: dict[str, Any] = {"start": datetime.now(UTC) - timedelta(days=1), "end": datetime.now(UTC) + timedelta(days=900)}
CA = certs_ca.ca("Client CA", label="client_cert", **LIFE)
D: dict[str, Any] = {"fqdn": "d.home.test", "address": "192.0.2.4"}
EDGE: dict[str, Any] = {
    "groups/edge/data/cluster": {"token": "edge"},
    "hosts/d": {"hostname": "192.0.2.4", "groups": ["edge", "systemd"], "data": {"member": D}},
}
FROM_FILES = {"groups/home/data/pki": {"source": "files", "folder": "."}}
ENDLESS = {"groups/home/data/auth": {"certificate_max_ttl": "900000h"}}


class Source(VaultSource):
    """Vault with one CA, whose role for clients gives no more than ``limit``; None when it cannot be read."""

    def __init__(self, limit: timedelta | None) -> None:
        self.settings = VaultPki()
        self.vault: Any = SimpleNamespace(read_role=lambda *_: SimpleNamespace(max_ttl=limit) if limit else None)

    def anchors(self, _: object) -> str:
        return CA.pem

    def root(self) -> str:
        return CA.pem

    def issuer(self, _: object) -> Any:
        return parse_pem_bundle(CA.pem)

    def way(self, *_: object) -> Any:
        return parse_pem_bundle(CA.pem)


class Site:
    """An inventory, the folder of alice's files, and a terminal that is read."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.stage = folder, capsys, Stage(monkeypatch)
        self.out = folder / "clients"
        self.stage.put(play, "client_side", "switched off")
        monkeypatch.delenv("VAULT_ADDR", raising=False)
        monkeypatch.setenv("COLUMNS", "500")

    def run(self, *argv: str, edits: Mapping[str, Any] | None = None) -> tuple[ExitCode, str]:
        """The exit code of client_cert.py, and what it said."""
        with pytest.MonkeyPatch.context() as patch:
            given = asked_for(ROOT / "runbooks" / "client_cert.py", patch)
        common = ["--config", str(write_inventory(self.folder, edits)), "--report-dir", str(self.folder / "reports")]
        try:
            code = cli.run_runbook(**given, argv=[*argv, *common])
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        return ExitCode(code), " ".join("".join(self.capsys.readouterr()).split())

    @property
    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.out.glob("**/*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("there", ["alice.key", "alice.pem", "alice.env"])
def test_files_that_are_there_are_not_replaced(site: Site, there: str) -> None:
    """Whatever is left of them: a key that somebody uses must not be lost."""
    site.out.mkdir()
    (site.out / there).write_text("left")
    (site.out / "ca.pem").write_text("left, too")  # may be replaced
    before = site.files
    code, said = site.run("alice", "--out", str(site.out))
    assert code is ExitCode.USAGE
    assert f"{site.out}/{there} is there already" in said
    assert "--yes" in said
    assert (site.files, site.stage.ran) == (before, [])


@pytest.mark.parametrize(
    ("argv", "edits", "says"),
    [
        (["root"], {}, "root may do everything in etcd"),
        (["boss"], {"groups/home/data/pki": {"client_common_name": "boss"}}, "boss may do everything in etcd"),
        # The built-in user stays one who may do everything.
        (["root"], {"groups/home/data/pki": {"client_common_name": "boss"}}, "root may do everything in etcd"),
        (["alice", "--ttl", "8761h"], {}, "8761h is longer than 8760h, the longest allowed"),
        (["alice", "--ttl", "8761h", "--yes"], {}, "8761h is longer than 8760h, the longest allowed"),
        (["alice", "--ttl", "8761h", "--check"], {}, "8761h is longer than 8760h, the longest allowed"),
        (["alice", "--ttl", "0h"], {}, "a certificate cannot end before it begins"),
        (["alice", "--ttl", "soon"], {}, "write 24h, 30d or 1h30m"),
        (["../alice", "--yes"], {}, "'../alice' cannot be the name of a user and of files"),
        (["alice"], EDGE, "a certificate is for one cluster remedy add --cluster: home, edge"),
        (["alice"], {"groups/home/data/cluster/client_tls": False}, "cluster home has no TLS for clients"),
        (["alice"], FROM_FILES, "the ones of this cluster come from files"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    site: Site, argv: list[str], edits: Mapping[str, Any], says: str
) -> None:
    code, said = site.run(*argv, "--out", str(site.out), edits=edits)
    assert code is ExitCode.USAGE
    assert says in said
    assert "Traceback" not in said
    assert (site.out.exists(), site.stage.ran) == (False, [])


@pytest.mark.parametrize(
    "argv", [["root", "--yes"], ["root", "--ca-only"], ["alice", "--yes"], ["alice", "--ca-only"], ["alice", "--check"]]
)
def test_what_is_meant_goes_on(site: Site, argv: list[str]) -> None:
    site.out.mkdir()
    for name in ("root", "alice"):
        (site.out / f"{name}.env").write_text("export ETCDCTL_KEY=…")
    site.stage.put(play, "client_certificate", StepOutcome("made", ("files are made",)))
    code, said = site.run(*argv, "--ttl", "8760h", "--out", str(site.out))
    assert code is ExitCode.OK, said
    assert site.stage.hosts("client_certificate") == ["home"]
    assert site.stage.given["client_certificate"]["ca_only"] is ("--ca-only" in argv)


@pytest.mark.parametrize(("limit", "named"), [(timedelta(days=30), "720h"), (None, "87600h")])
@pytest.mark.parametrize("more", [[], ["--check"]])
def test_a_life_that_the_ca_would_cut_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, limit: timedelta | None, named: str, more: list[str]
) -> None:
    """Where the token may not read the role, its limit is the inventory's."""
    monkeypatch.setattr("tasks.certificates.client.source_of", lambda *_: Source(limit))
    code, said = site.run("alice", "--ttl", "800000h", "--out", str(site.out), *more, edits=ENDLESS)
    assert code is ExitCode.FAILED
    assert f"800000h is longer than {named}, max_ttl of role etcd-client in Vault" in said
    assert site.stage.names == ["client_side"]
    assert not site.out.exists()
