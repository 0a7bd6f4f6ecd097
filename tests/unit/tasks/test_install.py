"""What the step install does on a host, and what it leaves to the step start."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.drivers.certificates.files import FilesPki
from etcdfleet.drivers.packages import Installed
from etcdfleet.drivers.packages.apt import AptInstall
from etcdfleet.errors import RemoteError
from etcdfleet.host.facts import DataFacts
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.vault import VaultPki
from tasks.install import install
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import RUNNING, STOPPED, Packages, Place, Scripted, carry_out, error_of, seen

DATA = DataFacts(exists=True, mode="700", owner="etcd")
NOTHING = Installed(None)
BEFORE = seen(STOPPED, NOTHING, data=DataFacts(), has_user=False)
THERE = seen(STOPPED, data=DATA)


def installed(*observed: Any, due: str = "", check: bool = False, of: HostSettings | None = None) -> Any:
    """The result, the host and what was done with its packages."""
    packages, host = Packages(due), Scripted()
    return carry_out(install, Place(host, *observed, packages=packages, of=of), check=check), host, packages.done


def test_where_all_is_there_nothing_is_sent() -> None:
    result, host, done = installed(THERE)
    assert (result.changed, host.sent, done) == (False, [], [])
    assert (result.result.summary, result.result.facts) == ("etcd 3.5.16 by apt", {"version": "3.5.16"})


def test_a_new_host_gets_program_user_and_folders() -> None:
    result, host, done = installed(BEFORE, THERE, due="etcd is missing")
    assert result.result.changes == (
        "apt: etcd is missing",
        "user etcd is made",
        "/var/lib/etcd is made (0700, etcd)",
    )
    assert done == ["installed"]
    assert host.was_sent("chown etcd:etcd")
    assert host.was_sent("/var/lib/etcd")
    assert (result.result.restart, result.result.facts) == (True, {"version": "3.5.16"})


def test_check_says_the_same_and_does_nothing() -> None:
    result, host, done = installed(BEFORE, due="etcd is missing", check=True)
    assert (result.changed, len(result.result.changes)) == (True, 3)
    assert (host.sent, done) == ([], [])


def test_the_program_of_a_running_member_is_only_prepared() -> None:
    result, _, done = installed(seen(RUNNING, data=DATA), due="3.4.23 is installed, 3.5.16 is wanted")
    assert done == ["prepared"]
    (change,) = result.result.changes
    assert change.endswith("; to be exchanged when it is this member's turn")
    assert result.result.restart


def test_a_folder_with_another_owner_is_mended() -> None:
    result, host, done = installed(seen(data=DataFacts(exists=True, mode="755", owner="root")))
    assert result.result.changes == ("/var/lib/etcd gets mode 0700 and owner etcd (it has 755, root)",)
    assert host.was_sent("chmod 0700")
    assert done == []
    assert not result.result.restart


@pytest.mark.parametrize(
    ("pki", "there", "added"),
    [
        (VaultPki(), False, True),
        (VaultPki(), True, False),
        (VaultPki(key_origin="vault"), False, False),
        (FilesPki(folder="/pki"), False, False),
    ],
)
def test_openssl_comes_only_where_it_makes_the_keys(pki: PkiSettings, there: bool, added: bool) -> None:
    result, _, done = installed(seen(data=DATA, has_openssl=there), of=settings(pki=pki))
    assert (result.changed, done) == (added, ["added openssl"] if added else [])


def test_a_pinned_package_is_held() -> None:
    of = settings(install=AptInstall(version="3.5.16"))
    result, _, done = installed(THERE, of=of)
    assert (result.result.changes, done) == (("apt holds etcd at 3.5.16-4",), ["held"])
    held = seen(STOPPED, Installed("3.5.16", "3.5.16-4", held=True, held_by_us=True), data=DATA)
    assert not installed(held, of=of)[0].changed


def test_that_a_version_is_too_old_is_said_when_it_is_installed() -> None:
    old = Installed("3.3.25", "3.3.25-1")
    result, *_ = installed(BEFORE, seen(STOPPED, old, data=DATA), due="etcd is missing")
    (warning,) = result.result.warnings
    assert "3.3" in warning
    assert not installed(seen(STOPPED, old, data=DATA))[0].result.warnings, "not in each run"


def test_an_installation_that_fails_is_the_step_s_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RemoteError("no space left on device", remedy="make room")

    monkeypatch.setattr(Packages, "install", fails)
    result, host, _ = installed(BEFORE, due="etcd is missing")
    assert "no space left" in error_of(result)
    assert host.sent == [], "no folders of a program that is not there"
