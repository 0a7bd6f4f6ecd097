"""Each thing that stops a run before anything is changed, and each that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from etcdfleet.etcd.wal import DataIds
from etcdfleet.host import preflight
from etcdfleet.host.facts import DataFacts, HostFacts, Listener, PairFacts
from etcdfleet.host.preflight import Trouble
from etcdfleet.settings.models import PlatformSettings, PreflightSettings
from tests.unit.support import certs_ca
from tests.unit.support.site import MEMBERS, settings

GOOD = HostFacts(
    distribution="debian",
    like=(),
    release="Debian GNU/Linux 12 (bookworm)",
    machine="armv7l",
    package_architecture="armhf",
    clock=datetime(2026, 6, 1, 12, tzinfo=UTC),
    clock_offset=0.0,
    read_at=0.0,
    resolves={member.fqdn: (member.address,) for member in MEMBERS},
    listeners=(Listener(22, "*", "sshd (pid 1)"),),
    free_bytes={"/var/lib/etcd": 8 * 2**30, "/etc": 2**30, "/usr": 2**30},
    data=DataFacts(),
    established=None,
    restart_pending="",
    lock_count="0",
    has_user=False,
    anchors={},
    has_openssl=True,
    pairs={},
    files={},
)
OURS = settings(platform=PlatformSettings(distributions=("debian", "raspbian")))


def all_troubles(facts: HostFacts, own_pid: int | None = None) -> list[Trouble]:
    return [
        *preflight.platform_problems(OURS, facts),
        *preflight.clock_problems(OURS, facts)[0],
        *preflight.name_problems(OURS, facts),
        *preflight.port_problems(OURS, facts, own_pid),
        *preflight.space_problems(OURS, facts, installs=True),
        *preflight.data_problems(OURS, facts),
    ]


def test_a_good_host_has_no_trouble() -> None:
    assert all_troubles(GOOD) == []


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        (lambda f: replace(f, distribution="alpine", release="Alpine Linux v3.23"), "runs Alpine Linux v3.23", "group"),
        (lambda f: replace(f, machine="riscv64", package_architecture="riscv64"), "riscv64", "amd64, arm64"),
        (lambda f: replace(f, clock_offset=-31_536_000.0), "365 days behind", "chrony"),
        (lambda f: replace(f, clock_offset=20.5), "20.5 s ahead of", "chrony"),
        (
            lambda f: replace(f, resolves={**f.resolves, MEMBERS[2].fqdn: ()}),
            "etcd.az3.k8s.home does not resolve",
            "DNS",
        ),
        (
            lambda f: replace(f, resolves={**f.resolves, MEMBERS[0].fqdn: ("127.0.1.1",)}),
            "resolves there to 127.0.1.1, and the inventory says 198.51.100.11",
            "Debian's installer",
        ),
        (
            lambda f: replace(f, resolves={**f.resolves, MEMBERS[1].fqdn: ("198.51.100.12", "198.51.100.99")}),
            "198.51.100.12, 198.51.100.99",
            "member.address",
        ),
        (
            lambda f: replace(f, listeners=(Listener(2379, "*", "nginx (pid 9)"),)),
            "port 2379 is taken by nginx",
            "stop",
        ),
        (
            lambda f: replace(f, free_bytes={**f.free_bytes, "/var/lib/etcd": 2**20}),
            "has 1.0 MiB free",
            "min_free_bytes",
        ),
        (lambda f: replace(f, free_bytes={**f.free_bytes, "/usr": 2**20}), "/usr has 1.0 MiB free", "df -h"),
        (lambda f: replace(f, data=DataFacts(True, "700", "etcd", None, "a torn log")), "a torn log", "never deletes"),
        (lambda f: replace(f, data=DataFacts(True, "755", "root", None, "", ("photos",))), "photos", "data_dir"),
    ],
)
def test_one_trouble_at_a_time(change: Callable[[HostFacts], HostFacts], what: str, remedy: str) -> None:
    troubles = all_troubles(change(GOOD))
    assert len(troubles) == 1
    assert what in troubles[0].what
    assert remedy in troubles[0].remedy


def test_raspbian_counts_as_debian_and_ubuntu_does_not() -> None:
    debian = settings(platform=PlatformSettings(distributions=("debian",)))
    assert preflight.platform_problems(debian, replace(GOOD, distribution="raspbian")) == []
    assert preflight.platform_problems(debian, replace(GOOD, distribution="ubuntu", like=("debian",))) != []


def test_an_override_must_run_on_the_kernel() -> None:
    wants = settings(platform=PlatformSettings(architecture="arm64"))
    assert "cannot run that" in preflight.platform_problems(wants, GOOD)[0].what
    sixty_four = replace(GOOD, machine="aarch64")
    assert preflight.platform_problems(wants, sixty_four) == []


def test_a_32_bit_system_under_a_64_bit_kernel_is_32_bit() -> None:
    assert replace(GOOD, machine="aarch64", package_architecture="armhf").architecture == "arm"


def test_etcds_own_port_is_no_trouble_and_an_etcd_started_by_hand_is() -> None:
    facts = replace(GOOD, listeners=(Listener(2379, "::", "etcd (pid 77)"),))
    assert preflight.port_problems(OURS, facts, 77) == []
    assert "started by hand" in preflight.port_problems(OURS, facts, None)[0].remedy


def test_a_small_difference_of_clocks_is_a_warning() -> None:
    problems, warnings = preflight.clock_problems(OURS, replace(GOOD, clock_offset=3.0))
    assert problems == []
    assert "3.0 s ahead" in warnings[0].what


def test_a_clock_before_the_certificate_began_is_named() -> None:
    leaf = certs_ca.ca("root", start=certs_ca.NOW - certs_ca.DAY)
    pair = PairFacts(leaf.pem, "", "", {})
    facts = replace(GOOD, pairs={"peer": pair}, clock=certs_ca.NOW - 2 * certs_ca.DAY)
    assert "its peer certificate is not valid yet" in preflight.clock_problems(OURS, facts)[0][0].what


def test_a_member_with_data_may_run_on_a_fuller_disk() -> None:
    little = {**GOOD.free_bytes, "/var/lib/etcd": 100 * 2**20}
    with_data = replace(GOOD, free_bytes=little, data=DataFacts(True, "700", "etcd", DataIds(1, 2)))
    assert preflight.space_problems(OURS, with_data, installs=False) == []
    assert preflight.space_problems(OURS, replace(GOOD, free_bytes=little), installs=False) != []


@pytest.mark.parametrize(("slow", "warned"), [(0, False), (1, False), (2, True)])
def test_the_99th_percentile_of_100_writes_leaves_out_one(slow: int, warned: bool) -> None:
    times = [2.0] * (100 - slow) + [50.0] * slow
    limit = settings(preflight=PreflightSettings(sync_warn_ms=10))
    assert bool(preflight.sync_warning(limit, times)) is warned


def test_no_figures_no_warning() -> None:
    assert preflight.sync_warning(OURS, []) == []
    with pytest.raises(ValueError, match="no values"):
        preflight.percentile([], 0.99)


VIP = ("198.51.100.200",)


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        ((), "does not resolve there"),
        (tuple(member.address for member in MEMBERS[:2]), f"does not lead to {MEMBERS[2].address}"),
        (tuple(member.address for member in MEMBERS), ""),
        (VIP, ""),
        ((*VIP, MEMBERS[0].address), ""),
    ],
)
def test_the_name_that_clients_use_leads_to_all_members(addresses: tuple[str, ...], says: str) -> None:
    ours = settings(service_name="etcd.home")
    warnings = preflight.service_name_warning(ours, replace(GOOD, resolves={**GOOD.resolves, "etcd.home": addresses}))
    assert [says in warning.what and "etcd.home" in warning.remedy for warning in warnings] == ([True] if says else [])
    assert preflight.service_name_warning(settings(), GOOD) == []
