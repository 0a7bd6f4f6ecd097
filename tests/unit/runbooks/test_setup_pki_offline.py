"""The runbook setup_pki with a root CA that is not in Vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.support.setup_fixtures import SIDES, good, openssl
from tests.unit.support.setup_fixtures import server as server
from tests.unit.support.setup_fixtures import site as site
from tests.unit.support.setup_site import Site


def offline_root(site: Site, name: str = "root") -> None:
    """A root CA made by openssl, in files."""
    key, pem = site.folder / f"{name}.key", site.folder / f"{name}.pem"
    argv = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7300"]
    openssl(*argv, "-subj", "/CN=Offline Root", "-keyout", str(key), "-out", str(pem))


def sign(site: Site, request: Path, to: Path, root: str = "root", *, ca: bool = True, days: int = 5475) -> None:
    extensions = site.folder / "extensions.cnf"
    extensions.write_text(
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
        if ca
        else "basicConstraints=CA:FALSE\n"
    )
    files = ["-CA", str(site.folder / f"{root}.pem"), "-CAkey", str(site.folder / f"{root}.key")]
    said = openssl(
        *("x509", "-req", "-in", str(request), *files, "-days", str(days)), "-extfile", str(extensions), "-out", str(to)
    )
    assert to.exists(), said


def test_a_root_kept_offline_signs_in_between(site: Site) -> None:
    offline_root(site)
    site.inventory({"defaults/data/pki/trust_anchor": {"file": "root.pem"}})
    requests = site.folder / "pki-requests"
    before = site.state()
    good(site.run("--check"))
    assert (site.state(), requests.exists()) == (before, False)
    first = site.run()
    assert first.code == 1, first.text
    assert "sign" in first.errors
    written = {path.name: path.read_text() for path in requests.glob("*.csr")}
    assert sorted(written) == [f"{mount}.csr" for mount in sorted(SIDES.values())]
    for side, mount in SIDES.items():
        said = openssl("req", "-noout", "-subject", "-verify", stdin=written[f"{mount}.csr"])
        assert f"etcd home {side} CA" in said
        assert "verify OK" in said or "self-signature verify OK" in said
    keys = {mount: site.names(f"{mount}/keys") for mount in SIDES.values()}
    assert site.run().code == 1
    assert {mount: site.names(f"{mount}/keys") for mount in SIDES.values()} == keys, "a second key was made"
    assert {path.name: path.read_text() for path in requests.glob("*.csr")} == written
    for mount in SIDES.values():
        sign(site, requests / f"{mount}.csr", requests / f"{mount}.pem")
    good(site.run("--check"))
    assert site.names("pki_etcd_home_peer/issuers") == []
    good(site.run())
    for mount in SIDES.values():
        assert openssl("verify", "-CAfile", str(site.folder / "root.pem"), stdin=str(site.get(f"{mount}/ca/pem")))
        assert site.names(f"{mount}/keys") == keys[mount]
    again = good(site.run())
    assert (again.changes, again.report["warnings"]) == ([], []), again.text
    assert site.names("pki_etcd_home_peer/roles") == ["etcd-peer"]
    assert "pki_root" not in site.get("sys/policies/acl/etcdfleet-home")["policy"]


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("swapped", "another key"),
        ("leaf", "no CA"),
        ("other root", "trust anchor"),
        ("short", "ends"),
        ("nonsense", "cannot be read"),
    ],
)
def test_what_the_root_signed_is_checked_before_it_is_used(site: Site, mistake: str, words: str) -> None:
    offline_root(site)
    offline_root(site, "other")
    site.inventory({"defaults/data/pki/trust_anchor": {"file": "root.pem"}})
    assert site.run().code == 1
    requests, signed = site.folder / "pki-requests", site.folder / "signed"
    signed.mkdir()
    peer, client = SIDES["peer"], SIDES["client"]
    for mount in (peer, client):
        sign(site, requests / f"{mount}.csr", signed / f"{mount}.pem")
    wrong = signed / f"{client}.pem"
    if mistake == "swapped":
        wrong.write_bytes((signed / f"{peer}.pem").read_bytes())
    elif mistake == "leaf":
        sign(site, requests / f"{client}.csr", wrong, ca=False)
    elif mistake == "other root":
        sign(site, requests / f"{client}.csr", wrong, "other")
    elif mistake == "short":
        sign(site, requests / f"{client}.csr", wrong, days=30)
    else:
        wrong.write_text("nonsense\n")
    before = site.state()
    ran = site.run("--signed-dir", str(signed))
    assert ran.code == 1, ran.text
    assert words in ran.errors
    assert wrong.name in ran.errors
    assert site.state()["pki_etcd_home_client/"]["issuers"] == before["pki_etcd_home_client/"]["issuers"] == []
    assert "--check" not in ran.errors
    sign(site, requests / f"{client}.csr", wrong)
    good(site.run("--signed-dir", str(signed)))
