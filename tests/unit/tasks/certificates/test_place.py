from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from etcdfleet.certs import Want
from etcdfleet.host import paths
from etcdfleet.host.paths import CERTIFICATES
from etcdfleet.settings.vault import VaultPki
from tasks.certificates import place as certificates
from tasks.certificates.place import REVOKED, also_valid_for, keep_names, swap, tidy
from tasks.observe import Site
from tests.unit.support import site as plain

OLD, MARKED, USED, NEW = "client-1", "client-2", "client-3", "client-4"


@pytest.mark.parametrize(
    ("revoke", "left"),
    [
        (False, {USED, NEW}),
        (True, {OLD, USED, NEW}),  # nobody would know any more that it is still to be revoked
    ],
)
def test_sets_that_are_still_to_be_revoked_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revoke: bool, left: set[str]
) -> None:
    sets = tmp_path / "sets"
    monkeypatch.setattr(paths, "CERTIFICATES", str(tmp_path))
    monkeypatch.setattr(certificates, "SETS", str(sets))
    for age, name in enumerate((NEW, USED, MARKED, OLD)):
        (sets / name).mkdir(parents=True)
        if name == MARKED:
            (sets / name / REVOKED).touch()
        os.utime(sets / name, (1000 - age, 1000 - age))
    (tmp_path / "etcdctl").symlink_to(f"sets/{USED}")
    settings = plain.settings(1, pki=VaultPki(kept_sets=1, revoke=revoke))
    tidy(Site(settings, plain.LocalHost(), cast(Any, None), cast(Any, None)))
    assert {path.name for path in sets.iterdir()} == left


@pytest.mark.parametrize("shell", [["sh"], ["busybox", "sh"]], ids=["sh", "busybox"])
def test_a_new_set_is_found_under_the_names_that_a_running_etcd_reads(tmp_path: Path, shell: list[str]) -> None:
    sets = tmp_path / "sets"
    for name, fqdn in (("peer-1", "old.home"), ("peer-2", "new.home")):
        (sets / name).mkdir(parents=True)
        for kind in ("pem", "key"):
            (sets / name / f"{fqdn}.{kind}").write_text(f"{name} {kind}")
        (sets / name / "note.json").touch()
    link = tmp_path / "server"
    link.symlink_to("sets/peer-1")
    script = keep_names(str(link), str(sets / "peer-2"), "new.home") + "\n" + swap(str(link), "peer-2")
    for _ in range(2):  # the second time, the set in use is found under both names already
        subprocess.run([*shell, "-ec", script.replace(CERTIFICATES, str(tmp_path))], check=True)
    assert sorted(path.name for path in link.iterdir()) == [
        "new.home.key",
        "new.home.pem",
        "note.json",
        "old.home.key",
        "old.home.pem",
    ]
    for fqdn in ("old.home", "new.home"):
        assert (link / f"{fqdn}.pem").read_text() == "peer-2 pem"
        assert (link / f"{fqdn}.key").read_text() == "peer-2 key"


def test_a_pair_that_fits_both_is_valid_for_the_names_of_now_and_then() -> None:
    peer = Want("peer", "new.home", ("new.home",), ("198.51.100.8",), frozenset({"server", "client"}), "PEM")
    both = also_valid_for(peer, ("198.51.100.7", "old.home", "new.home"))
    assert both.dns_names == ("new.home", "old.home")
    assert both.ip_addresses == ("198.51.100.8", "198.51.100.7")
    assert also_valid_for(peer, ()) == peer
    client = Want("client", "new.home", (), (), frozenset({"client"}), "PEM")
    assert also_valid_for(client, ("old.home",)) == client
