"""What every deploy must do, on each version of etcd that hosts get: 3.4.23, 3.5.1, 3.5.16, what Debian's sid has, and
two of them in one cluster.

Before, only 3.4.23 and 3.5.1 were tried. On 3.5.16 and newer deploy, verify and rotate_certs always ended with exit
code 1, since etcd words a refused certificate otherwise there; verify named its own attempts as faults of the cluster.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.host.tls_greetings import Reply, greet, hello
from lab import releases
from tasks.configure import stop_seconds
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    deploy,
    etcd_processes,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.outside import Outside, from_outside
from tests.lab.rotate_helpers import rotate, serials, served
from tests.lab.test_auth import Client, as_root, is_on
from tests.lab.test_cis import Started, let_in
from tests.lab.v2_entries import foreign_v2_entries
from tests.lab.watch import leader

OLD, ALPINE = "v-deb12", "v-alpine"
VERSIONS = {OLD: "3.4.23", ALPINE: "3.5.1", "v-deb13": "3.5.16", "v-new": "", "v-mixed": ""}
"""The clusters, and their version where it is certain: what sid and updates have changes with time."""
SLOW_SYNC = (
    "(journalctl -q -u etcd --no-pager 2>/dev/null || cat /var/log/etcd/etcd.log)"
    " | grep -qE 'slow fdatasync|failed to send out heartbeat on time|sync duration of'"
)
clusters = pytest.mark.parametrize("cluster", VERSIONS)
ALLOWED = {
    "enabled": True,
    "roles": {"app": [{"prefix": "/app/", "access": "readwrite"}]},
    "users": {"alice": {"roles": ["app"]}},
}


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-versions", TOPOLOGIES / "versions.yaml") as handle:
        yield handle


def variant(handle: LabHandle, folder: Path, *, auth: dict[str, Any] | None = None, **settings: Any) -> Path:
    """The lab's configuration with an archive of the newest etcd for its cluster, and settings for all clusters."""
    release = releases.newer()
    archive = {release.architecture: {"file": str(release.file), "sha256": release.sha256}}

    def edit(files: dict[str, Any]) -> None:
        groups = files["inventory/groups.yaml"]
        groups["v-new"]["data"]["install"] = {"method": "archive", "version": release.version, "source": archive}
        for cluster in VERSIONS:
            groups[cluster]["data"]["cluster"].update(settings)
            if auth:
                groups[cluster]["data"]["auth"] = auth

    return inventory_variant(handle, folder, edit)


@pytest.fixture(scope="module")
def config(lab: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return variant(lab, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def first(lab: LabHandle, config: Path) -> Outcome:
    return deploy(lab, config=config, timeout=600)


@pytest.fixture(scope="module")
def deployed(lab: LabHandle, first: Outcome) -> LabHandle:
    if first.exit_code != 0:
        pytest.fail(f"the first deploy failed: {first.text}", pytrace=False)
    return lab


@pytest.fixture(scope="module")
def verified(deployed: LabHandle, config: Path) -> Outcome:
    return deploy(deployed, "--verbose", config=config, runbook="verify")


@pytest.fixture(scope="module")
def outside(deployed: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with from_outside(deployed, tmp_path_factory.mktemp("outside")) as client:
        yield client


def version_of(handle: LabHandle, host: str) -> str:
    """The version of the program on a host."""
    found = re.search(r"etcd Version: (\S+)", output(handle, host, "etcd --version"))
    assert found
    return found[1]


def checks(outcome: Outcome, host: str) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in outcome.host(host)["facts"]["checks"]}


@clusters
def test_the_first_deploy_ends_well(first: Outcome, lab: LabHandle, cluster: str) -> None:
    """Before, deploy ended with exit code 1 on the hosts with 3.5.16 and newer, after 20 s of waiting for a word."""
    for host in members(lab, cluster):
        assert first.error(host) == "", first.text
        found = checks(first, host)
        for role in ("server", "peer"):
            assert found[f"{role} certificate refused as a client"]["evidence"].startswith("refused: "), found
    assert first.exit_code == 0, first.text
    versions = {version_of(lab, host) for host in members(lab, cluster)}
    assert len(versions) == (2 if cluster == "v-mixed" else 1)
    assert VERSIONS[cluster] in ("", *versions)
    assert cluster != "v-new" or versions == {releases.newer().version}


@pytest.mark.thorough(
    "lab/test_versions.py::test_a_rolling_change_and_authentication",
    "lab/test_deploy.py::test_second_deploy_changes_and_restarts_nothing",
)
def test_a_second_run_changes_nothing(deployed: LabHandle, config: Path) -> None:
    before = start_times(deployed)
    again = deploy(deployed, config=config)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
    assert start_times(deployed) == before


@clusters
def test_verify_finds_all_well(verified: Outcome, deployed: LabHandle, cluster: str) -> None:
    """Before, verify named its own attempts and deploy's as faults: "incompatible key usage", "certificate refused"."""
    assert verified.exit_code == 0, verified.text
    for host in members(deployed, cluster):
        found = checks(verified, host)
        assert [name for name, check in found.items() if check["status"] == "failed"] == [], verified.text
        from_log = [name for name in found if name.startswith("log: ")]
        # Where this machine has too much to do, etcd itself says so; what else there is would be of our own making.
        slow = on_host(deployed, host, SLOW_SYNC).returncode == 0
        assert from_log == [] or (from_log == ["log: slow disk"] and slow), found
        old = version_of(deployed, host).startswith("3.4.")
        assert found["/health"]["status"] == ("skipped" if old else "ok"), found["/health"]


@pytest.mark.thorough(
    "lab/test_versions.py::test_a_rolling_change_and_authentication",
)
def test_status_is_well(deployed: LabHandle, config: Path) -> None:
    seen = deploy(deployed, config=config, runbook="status")
    assert seen.exit_code == 0, seen.text


@clusters
def test_only_the_clients_certificate_is_let_in(outside: Outside, cluster: str) -> None:
    """By a client that is not of this project, from outside: the checks above are not the only witness."""
    host = members(outside.handle, cluster)[-1]
    etcd = Started(outside, host, {})
    assert {role: let_in(etcd, 2379, role) for role in ("client", "server", "peer", None)} == {
        "client": True,
        "server": False,
        "peer": False,
        None: False,
    }
    # Not with the peer's: it is let in, and then its address is none of the certificate, which verify tells later.
    assert [role for role in ("client", "server", None) if let_in(etcd, 2380, role)] == []


def takes(outside: Outside, host: str, port: int, *options: str) -> bool:
    """Whether the port's side of the handshake goes that far that a suite is agreed on: openssl's word, not ours."""
    argv = ["openssl", "s_client", "-connect", f"{outside.handle.plan.host(host).address}:{port}", *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert "BIO_connect" not in done.stderr, done.stderr
    return "Server certificate" in done.stdout


@clusters
def test_nothing_weak_is_offered(outside: Outside, cluster: str) -> None:
    """Before, both ports of every version took AES128-SHA and AES128-GCM-SHA256 (no forward secrecy), and of the older
    ones DES-CBC3-SHA as well."""
    lab = outside.handle.plan
    signed = "ECDSA" if any(one.ec_keys for one in lab.clusters if one.name == cluster) else "RSA"
    for host in members(outside.handle, cluster):
        for port in (2379, 2380):
            for suite in ("AES128-SHA", "AES256-SHA", "AES128-GCM-SHA256", f"ECDHE-{signed}-AES128-SHA"):
                weak = ("-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
                assert not takes(outside, host, port, *weak), f"{host}:{port} takes {suite}"
            for suite in (f"ECDHE-{signed}-AES128-GCM-SHA256", f"ECDHE-{signed}-CHACHA20-POLY1305"):
                assert takes(outside, host, port, "-tls1_2", "-cipher", suite), f"{host}:{port} refuses {suite}"
            assert not takes(outside, host, port, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
            # openssl does not speak 3DES any more.
            address, fqdn = outside.handle.plan.host(host).address, outside.handle.plan.host(host).fqdn
            assert greet(address, port, hello(fqdn, 0x0303, [0x000A, 0xC012])) == Reply(alert=40)


def test_verify_sees_what_is_offered_and_deploy_mends_it(deployed: LabHandle, config: Path) -> None:
    """A member that was started before the suites were limited: as it was everywhere before."""
    host = "v-alpine-1"
    output(deployed, host, "sed -i '/^cipher-suites/d' /etc/etcd/conf.yml && rc-service etcd restart")
    wait_for("the cluster is whole", lambda: unhealthy(deployed, "v-alpine") == "")
    seen = deploy(deployed, "--cluster", "v-alpine", config=config, runbook="verify")
    assert seen.exit_code == 1, seen.text
    for port in (2379, 2380):
        found = checks(seen, host)[f"TLS offered on {port}"]
        assert found["status"] == "failed", found
        for name in ("TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"):
            assert name in found["evidence"]
        assert "run deploy" in found["remedy"]
        assert checks(seen, "v-alpine-2")[f"TLS offered on {port}"]["status"] == "ok"
    mended = deploy(deployed, "--cluster", "v-alpine", config=config)
    assert mended.exit_code == 0, mended.text
    assert deploy(deployed, "--cluster", "v-alpine", config=config, runbook="verify").exit_code == 0


OPEN = "/^client-transport/,/^peer-transport/{s/client-cert-auth: true/client-cert-auth: false/;/trusted-ca-file/d}"
REFUSED = [f"{role} certificate refused as a client" for role in ("server", "peer")]


@contextmanager
def without_openssl(handle: LabHandle, hosts: list[str]) -> Iterator[None]:
    """The hosts as they are without openssl: only etcdctl can show certificates there."""
    for host in hosts:
        output(handle, host, "mv /usr/bin/openssl /root/openssl.away")
    try:
        yield
    finally:
        for host in hosts:
            output(handle, host, "mv /root/openssl.away /usr/bin/openssl")


def test_without_openssl_on_the_host(deployed: LabHandle, config: Path) -> None:
    """etcdctl words it differently in each version, and nothing may depend on that; but nobody may be let in unseen."""
    opened, closed = "v-deb13-2", [members(deployed, cluster)[0] for cluster in VERSIONS]
    output(deployed, opened, f"sed -i '{OPEN}' /etc/etcd/conf.yml && systemctl restart etcd")
    wait_for("the cluster is whole", lambda: unhealthy(deployed, "v-deb13") == "")
    with without_openssl(deployed, [*closed, opened]):
        seen = deploy(deployed, config=config, runbook="verify")
    assert seen.exit_code == 1, seen.text
    assert seen.failed == [opened], seen.text
    for name in REFUSED:
        for host in closed:
            found = checks(seen, host)[name]
            assert (found["status"], found["evidence"][:9]) == ("ok", "refused: "), (host, found)
        assert "etcd served a client that came with the" in checks(seen, opened)[name]["evidence"]
    mended = deploy(deployed, "--cluster", "v-deb13", config=config)
    assert mended.exit_code == 0, mended.text


def test_tls_1_3_alone_where_etcd_knows_it(deployed: LabHandle, config: Path, outside: Outside, tmp_path: Path) -> None:
    """Older versions would ignore the line without a word: refused before anything is changed."""
    wanted, before = variant(deployed, tmp_path, tls_min_version="TLS1.3"), start_times(deployed)
    refused = deploy(deployed, "--cluster", f"{OLD},{ALPINE},v-deb13", config=wanted)
    assert refused.exit_code == 1, refused.text
    for cluster, version in ((OLD, "3.4.23"), ("v-alpine", "3.5.1")):
        for host in members(deployed, cluster):
            assert f"TLS1.3 would have no effect: etcd {version} does not know it" in refused.error(host)
    only = ("--cluster", "v-deb13")
    after = start_times(deployed)
    assert {host for host in before if before[host] != after[host]} == set(members(deployed, "v-deb13"))
    assert deploy(deployed, *only, config=wanted, runbook="verify").exit_code == 0
    for host in members(deployed, "v-deb13"):
        for port in (2379, 2380):
            assert takes(outside, host, port, "-tls1_3")
            assert not takes(outside, host, port, "-tls1_2")
    back = deploy(deployed, *only, config=config)
    assert back.exit_code == 0, back.text
    assert takes(outside, members(deployed, "v-deb13")[0], 2379, "-tls1_2")


def test_rotating_takes_no_longer_on_any_version(deployed: LabHandle, config: Path) -> None:
    """Before, a member took ten times as long from 3.5.16 on, and every nightly run ended with exit code 1."""
    before = {cluster: serials(deployed, cluster) for cluster in VERSIONS}
    running = start_times(deployed)
    outcome = rotate(deployed, "--force", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert start_times(deployed) == running
    seconds = {}
    for cluster in VERSIONS:
        for host, numbers in serials(deployed, cluster).items():
            assert not set(numbers) & set(before[cluster][host]), host
            assert [served(deployed, host, 2380), served(deployed, host, 2379)] == numbers[:2]
        seconds[cluster] = statistics.median(
            outcome.step(host, "rotate")["seconds"] for host in members(deployed, cluster)
        )
    assert max(seconds.values()) < 5 * min(seconds.values()), seconds


def test_a_rolling_change_and_authentication(deployed: LabHandle, config: Path, tmp_path: Path) -> None:
    """Every member is restarted, one after the other, and authentication is turned on, in one run."""
    before = start_times(deployed)
    changed = variant(deployed, tmp_path, auth=ALLOWED, heartbeat_ms=400, election_ms=4000)
    outcome = deploy(deployed, "--yes", config=changed, timeout=600)  # v-new has one member
    assert outcome.exit_code == 0, outcome.text
    after = start_times(deployed)
    assert [host for host in before if before[host] == after[host]] == [], "every member was restarted"
    for cluster in VERSIONS:
        assert is_on(deployed, cluster), cluster
        for key in ("/app/x", "/other"):
            output(deployed, members(deployed, cluster)[0], as_root(f"etcdctl put {key} 1"))
        alice = Client(deployed, cluster, "alice", tmp_path / cluster, changed)
        assert alice.may("get", "/app/x"), cluster
        assert not alice.may("get", "/other"), cluster
    again = deploy(deployed, config=changed)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
    seen = deploy(deployed, config=changed, runbook="verify")
    assert seen.exit_code == 0, seen.text
    by_status = deploy(deployed, config=changed, runbook="status")
    assert by_status.exit_code == 0, by_status.text
    assert deploy(deployed, config=config, runbook="status").exit_code == 1, "other files than these are wanted"


def stop_cut_off_leader(handle: LabHandle, cluster: str) -> float:
    """Cuts the cables of a leader's followers, stops it, and gives the seconds that took; then all run again."""
    hosts = members(handle, cluster)
    host = leader(handle, hosts)
    stop, start = (f"systemctl {verb} etcd.service" for verb in ("stop", "start"))
    if cluster == ALPINE:
        stop, start = (f"rc-service etcd {verb}" for verb in ("stop", "start"))
    others = [name for name in hosts if name != host]
    try:
        for name in others:
            handle.cut(name)
        begun = time.monotonic()
        stopped = on_host(handle, host, stop, timeout=150)
        took = time.monotonic() - begun
        assert etcd_processes(handle, host) == [], (stopped.stdout, stopped.stderr)
    finally:
        for name in others:
            handle.heal(name)
        output(handle, host, start)
    wait_for(f"{cluster} is healthy", lambda: unhealthy(handle, cluster) == "")
    return took


def test_a_leader_that_hears_nobody_is_ended_by_the_limit(deployed: LabHandle) -> None:
    """etcd does not end while followers are silent that it has connections to: before, systemd's 90 s passed."""
    limit = stop_seconds(4000)
    with ThreadPoolExecutor() as pool:
        took = list(pool.map(lambda cluster: stop_cut_off_leader(deployed, cluster), (OLD, ALPINE)))
    assert all(limit - 1 <= seconds < limit + 20 for seconds in took), (limit, took)


def test_nothing_leaves_traces_of_the_v2_api(deployed: LabHandle, verified: Outcome, outside: Outside) -> None:
    """After all of the above. Before, each deploy, verify and rotation wrote entries that etcd 3.6 does not survive."""
    assert verified.exit_code == 0, verified.text
    hosts = [*members(deployed, OLD), *members(deployed, "v-mixed")]
    assert {host: foreign_v2_entries(deployed, host) for host in hosts} == {host: [] for host in hosts}
    # That they would be seen: one question for /health, as a load balancer asks it.
    host = hosts[0]
    outside.fetch(host)  # the rotation has replaced its certificates
    assert outside.health(host, deployed.plan.host(host).fqdn).returncode == 0
    assert etcdctl(deployed, host, "endpoint health").returncode == 0
    assert [entry.split()[0] for entry in foreign_v2_entries(deployed, host)] == ["QGET"]
