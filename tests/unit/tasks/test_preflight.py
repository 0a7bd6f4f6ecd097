"""The step preflight: everything that is wrong with a host is said at once, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.drivers.packages import Installed
from etcdfleet.errors import PreflightError, RemoteError, VaultError
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from etcdfleet.host.paths import CONFIG
from etcdfleet.remote import RemoteFile
from etcdfleet.settings.models import HostSettings, PlatformSettings
from tasks import preflight as module
from tasks.preflight import preflight
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import RUNNING, Packages, Place, Scripted, carry_out, error_of, seen

IDS = DataIds(member_id=1, cluster_id=9, last_index=50, complete=True)
LIVE = DataFacts(exists=True, mode="700", owner="etcd", ids=IDS)
CONFIGURATION = "name: az-1\n"
WRITES = "\n".join(f"2300 bytes (2.3 kB, 2.2 KiB) copied, 0.{number:03} s, 1.0 MB/s" for number in range(1, 101))


class Source:
    """A source of certificates that has something to say of what it will be asked."""

    def __init__(self, *warnings: str, refuses: BaseException | None = None) -> None:
        self.warnings, self.refuses = warnings, refuses

    def check(self, *_: object) -> tuple[str, ...]:
        if self.refuses:
            raise self.refuses
        return self.warnings


@pytest.fixture(name="rendered", autouse=True)
def _rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Templates have tests of their own; that they are tried is noted."""
    tried = list[str]()

    def files(*_: object, **__: object) -> list[RemoteFile]:
        tried.append("rendered")
        return [RemoteFile(CONFIG, CONFIGURATION.encode())]

    monkeypatch.setattr(module, "desired_files", files)
    return tried


def checked(
    *observed: Any,
    host: Scripted | None = None,
    packages: Packages | None = None,
    source: Source | None = None,
    check: bool = False,
    of: HostSettings | None = None,
) -> Any:
    place = Place(host, *observed, packages=packages, of=of)
    return carry_out(preflight, place, source=source or Source(), check=check)


def test_a_good_host_is_measured_and_its_templates_are_tried(rendered: list[str]) -> None:
    result = checked(seen(), host=(host := Scripted({"dd if=/dev/zero": WRITES})), source=Source("a token ends soon"))
    assert not result.failed, result.exception
    assert not result.changed
    assert result.result.summary == "Debian GNU/Linux 12 (bookworm), arm, a synced write takes 99.0 ms"
    assert result.result.facts["sync_p99_ms"] == 99.0
    assert "a token ends soon" in result.result.warnings
    assert any("99" in warning for warning in result.result.warnings[:-1]), "and that the disk is slow"
    assert rendered == ["rendered"]
    assert len(host.sent) == 1


def test_a_member_s_disk_is_left_alone() -> None:
    host = Scripted()
    result = checked(seen(RUNNING, data=LIVE, established={"cluster_id": 9, "member_id": 1}), host=host)
    assert not result.failed, result.exception
    assert host.sent == []
    assert result.result.facts["has_member_data"] is True


def test_all_that_is_wrong_is_said_at_once(rendered: list[str]) -> None:
    wrong = seen(init_fits=False, distribution="fedora", has_openssl=False)
    host = Scripted({"dd if=/dev/zero": WRITES})
    refuses = Source(refuses=VaultError("the token may not sign", remedy="give it"))
    result = checked(
        wrong, host=host, source=refuses, of=settings(platform=PlatformSettings(distributions=("debian",)))
    )
    assert isinstance(result.exception, PreflightError)
    error = error_of(result)
    assert "things: (1)" in error
    for words in ("systemd", "fedora", "the token may not sign", "give it"):
        assert words in error
    assert host.sent == [], "a host that is not fit is not written to"
    assert rendered == []


def test_one_thing_is_said_as_it_is() -> None:
    error = error_of(checked(seen(), source=Source(refuses=VaultError("Vault is sealed", remedy="unseal it"))))
    assert "Vault is sealed" in error
    assert "(1)" not in error


@pytest.mark.parametrize(("adds", "so"), [(True, True), (False, False)])
def test_openssl_that_can_be_installed_is_no_trouble(monkeypatch: pytest.MonkeyPatch, adds: bool, so: bool) -> None:
    monkeypatch.setattr(Packages, "adds", adds)
    result = checked(seen(has_openssl=False))
    assert result.failed is not so
    assert so or "pki.key_origin" in error_of(result)


@pytest.mark.parametrize(
    ("observed", "check", "asked"),
    [
        (seen(), False, False),  # the step install finds out by doing it: no member suffers
        (seen(), True, True),
        (seen(RUNNING), False, True),
        (seen(data=LIVE, established={"cluster_id": 9, "member_id": 1}), False, True),
    ],
    ids=["a new host", "check", "a running member", "a member's data"],
)
def test_whether_a_wanted_program_can_be_had(observed: Any, check: bool, asked: bool) -> None:
    packages = Packages("3.4.23 is installed", offers=RemoteError("no such version", remedy="see apt policy"))
    result = checked(observed, packages=packages, check=check)
    assert result.failed is asked
    if asked:
        assert "no such version" in error_of(result)
        assert "see apt policy" in error_of(result)


def test_a_cluster_without_tls_needs_no_source() -> None:
    refuses = Source(refuses=VaultError("nobody asked"))
    of = settings(client_tls=False, peer_tls=False)
    assert not checked(seen(), source=refuses, of=of).failed


def test_a_tls_version_that_etcd_would_ignore() -> None:
    of = settings(tls_min_version="TLS1.3")
    assert "would have no effect" in error_of(checked(seen(installed=Installed("3.4.23")), of=of))
    assert not checked(seen(installed=Installed("3.5.16")), of=of).failed


@pytest.mark.parametrize(
    ("lines", "installed", "brings", "warned", "refused"),
    [
        ("quota-backend-byte: 5", "3.5.16", "", "did you mean quota-backend-bytes?", ""),
        ("corrupt-check-time: 5", "3.5.16", "", "etcd 3.5.16 ignores corrupt-check-time", ""),
        ("feature-gates: Foo=true", "3.5.16", "", "ignores feature-gates", ""),
        ("feature-gates: Foo=true", "3.6.14", "", "", "does not start with the feature gate Foo"),
        # What is to come counts, and what runs until then must start, too.
        ("corrupt-check-time: 5", "3.5.33", "3.6.14", "", ""),
        ("feature-gates: Foo=true", "3.5.33", "3.6.14", "", "does not start with the feature gate Foo"),
        ("heartbeat-interval: 1s", "3.5.33", "3.6.14", "", "etcd 3.5.33 does not start with heartbeat-interval"),
        # Nothing is installed yet, and the version to come is not known: what is true of all of them.
        ("quota-backend-byte: 5\nenable-v2: true", None, "", "quota-backend-bytes", ""),
    ],
)
def test_what_etcd_makes_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, lines: str, installed: str | None, brings: str, warned: str, refused: str
) -> None:
    monkeypatch.setattr("tests.unit.tasks.test_preflight.CONFIGURATION", lines)
    observed = seen(RUNNING, data=LIVE, installed=Installed(installed), established={"cluster_id": 9, "member_id": 1})
    packages = Packages("another one is wanted", offers=brings) if brings else Packages()
    result = checked(observed, packages=packages)
    assert result.failed is bool(refused), result.exception
    if refused:
        assert refused in error_of(result)
        assert error_of(result).count("does not start with") == (2 if "heartbeat" in lines else 1)
    else:
        told = [text for text in result.result.warnings if text.startswith("templates/conf.yml.j2: ")]
        assert len(told) == bool(warned)
        assert warned in "".join(told)
