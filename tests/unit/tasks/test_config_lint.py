"""The shipped template raises no alarm on any release of etcd, and what a template of one's own gets wrong is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.drivers.init import ServiceState, service_for
from etcdfleet.drivers.packages import Installed, packages_for
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.configuration import needs_restart
from etcdfleet.host.paths import CONFIG
from etcdfleet.remote import RemoteFile
from etcdfleet.rendering import environment
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.vault import VaultPki
from tasks.config_lint import check_config, config_findings
from tasks.configure import template_variables
from tasks.observe import Observed, Site
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.site import LocalHost, settings

RELEASES = ("3.4.23", "3.4.45", "3.5.1", "3.5.16", "3.5.33", "3.6.0", "3.6.14", "3.7.1", None)
VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "clients without TLS": {"client_tls": False},
    "no TLS at all": {"client_tls": False, "peer_tls": False},
    "revocation lists": {"pki": VaultPki(crl=True)},
    "one CA": {"pki": VaultPki(trust="single")},
    "gateway": {"gateway": True},
    "TLS 1.3": {"tls_min_version": "TLS1.3"},
    "suites": {"cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]},
    "slow": {"heartbeat_ms": 10_000, "election_ms": 50_000, "auto_compaction": "0s", "log_level": "debug"},
    "no checks": {"corruption_checks": False},
    "quick": {"heartbeat_ms": 10, "election_ms": 50, "snapshot_count": 1},
}


def site_for(host: HostSettings) -> Site:
    return Site(host, LocalHost(), service_for(host.init), packages_for(host))


def rendered(host: HostSettings, version: str | None) -> str:
    seen = Observed(replace(GOOD), ServiceState(True, True), Installed(version), init_fits=True)
    return environment().get_template("conf.yml.j2").render(template_variables(site_for(host), seen))


@pytest.mark.parametrize("init", ["systemd", "openrc"])
@pytest.mark.parametrize(
    ("version", "variant"),
    [
        (version, variant)
        for version in RELEASES
        for variant in VARIANTS
        if variant != "TLS 1.3" or version not in ("3.4.23", "3.5.1")  # refused before (check_tls)
    ],
)
def test_the_shipped_template_is_what_each_release_reads(version: str | None, variant: str, init: str) -> None:
    text = rendered(settings(init=init, **VARIANTS[variant]), version)
    assert config_findings([RemoteFile(CONFIG, text.encode())], version) == ()


def test_only_etcd_s_configuration_is_looked_at() -> None:
    assert config_findings([RemoteFile("/etc/init.d/etcd", b"nmae: a")], "3.5.16") == ()


def test_a_warning_is_told_once_in_a_run() -> None:
    site = site_for(settings())
    files = [RemoteFile(CONFIG, b"nmae: a\ndta-dir: b\n")]
    assert len(check_config(site, files, "3.5.16")) == 2
    assert check_config(site, files, "3.5.16") == []


def test_what_etcd_refuses_is_an_error_with_its_remedies() -> None:
    files = [RemoteFile(CONFIG, b"heartbeat-interval: 1s\nlog-outputs: stderr\n")]
    with pytest.raises(VerificationError) as caught:
        check_config(site_for(settings()), files, "3.6.14")
    error = str(caught.value)
    for word in ("az-1", "templates/conf.yml.j2: etcd 3.6.14", "heartbeat-interval", "log-outputs", "[stderr]"):
        assert word in error


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("3.4.23", ()),
        ("3.4.28", ("experimental-initial-corrupt-check: true",)),
        ("3.5.1", ()),
        ("3.5.16", ("experimental-initial-corrupt-check: true", "experimental-compact-hash-check-enabled: true")),
        ("3.6.14", ("feature-gates: CompactHashCheck=true,InitialCorruptCheck=true",)),
        ("3.7.1", ("feature-gates: CompactHashCheck=true,InitialCorruptCheck=true",)),
        (None, ("feature-gates: CompactHashCheck=true,InitialCorruptCheck=true",)),
    ],
)
def test_etcd_s_own_checks_as_each_release_has_them(version: str | None, lines: tuple[str, ...]) -> None:
    words = ("corrupt-check", "hash-check", "feature-gates")
    text = rendered(settings(), version)
    assert tuple(line for line in text.splitlines() if any(word in line for word in words)) == lines
    without = rendered(settings(corruption_checks=False), version)
    assert not any(word in without for word in words)
    assert not needs_restart(without.encode(), text.encode())


def test_a_program_swap_brings_the_names_of_its_version() -> None:
    """Members of a cluster that is on its way up have each what their own program reads."""
    seen = Observed(replace(GOOD), ServiceState(True, True), Installed("3.5.33"), init_fits=True)
    site = site_for(settings())
    variables = template_variables(site, seen, program=Installed("3.6.14", binary="/usr/local/bin/etcd"))
    text = environment().get_template("conf.yml.j2").render(variables)
    assert "feature-gates: " in text
    assert "experimental-" not in text
    assert "experimental-initial" in environment().get_template("conf.yml.j2").render(template_variables(site, seen))
