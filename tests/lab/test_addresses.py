"""Members are brought to other names, addresses and ports by a deploy, while clients work; the data stay."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import vault
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    Outcome,
    begin_deploy,
    deploy,
    for_chosen,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    wait_for,
)
from tests.lab.fault_helpers import events_of
from tests.lab.load import client_pair
from tests.lab.register.workload import Workload, clients_at_work

CERTS = "/etc/etcd/certs"
_PAIR = (("cacert", "clientCA.pem"), ("cert", "etcdctl/*.pem"), ("key", "etcdctl/*.key"))


@dataclass
class Fleet:
    """The lab, and what its inventory says by now."""

    lab: LabHandle
    folder: Path
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self) -> Path:
        """The configuration with all changes so far."""

        def edit(files: dict[str, Any]) -> None:
            for host, changes in self.hosts.items():
                files["inventory/hosts.yaml"][host]["data"]["member"] |= changes
            for cluster, changes in self.clusters.items():
                files["inventory/groups.yaml"][cluster]["data"]["cluster"] |= changes

        return inventory_variant(self.lab, self.folder, edit)

    def rename(self, host: str, fqdn: str) -> None:
        """Let a new name lead to the host, on all hosts of its cluster and in the inventory."""
        cluster = host.rpartition("-")[0]
        for other in members(self.lab, cluster):
            output(self.lab, other, f"echo '{self.lab.plan.host(host).address} {fqdn}' >>/etc/hosts")
        self.hosts.setdefault(host, {})["fqdn"] = fqdn

    def deploy(self, cluster: str, *args: str, runbook: str = "deploy") -> Outcome:
        return deploy(self.lab, "--cluster", cluster, *args, config=self.write(), runbook=runbook)

    def set_up_pki(self, *args: str) -> None:
        """Its administrator brings Vault to the inventory: roles sign for its names, and for no others by default."""
        administrator: dict[str, str | None] = {"VAULT_TOKEN": vault.client(self.lab.plan).token}
        done = deploy(self.lab, "--yes", *args, config=self.write(), runbook="setup_pki", env=administrator)
        assert done.exit_code == 0, done.text

    def peer_urls(self, cluster: str) -> dict[str, list[str]]:
        return {entry["name"]: entry["peerURLs"] for entry in self.entries(cluster)}

    def ids(self, cluster: str) -> dict[str, int]:
        return {entry["name"]: entry["ID"] for entry in self.entries(cluster)}

    def entries(self, cluster: str) -> list[dict[str, Any]]:
        done = self.etcdctl(members(self.lab, cluster)[0], "-w json member list")
        assert done.returncode == 0, done.stderr
        entries: list[dict[str, Any]] = json.loads(done.stdout)["members"]
        return entries

    def etcdctl(self, host: str, args: str) -> subprocess.CompletedProcess[str]:
        """Ask the host's own member, with whatever pair lies there: its files have another name after a move."""
        pair = " ".join(f"--{kind}=$(ls {CERTS}/{file} | head -n 1)" for kind, file in _PAIR)
        return on_host(self.lab, host, f"ETCDCTL_API=3 etcdctl --endpoints=https://127.0.0.1:2379 {pair} {args}")

    def whole(self, cluster: str) -> None:
        """Verify finds nothing, status is content, and deploy would change nothing."""
        for runbook in ("verify", "status"):
            outcome = self.deploy(cluster, runbook=runbook)
            assert outcome.exit_code == 0, outcome.text
        outcome = self.deploy(cluster, "--check")
        assert (outcome.exit_code, set(outcome.changed.values())) == (0, {0}), outcome.text


@pytest.fixture(scope="module")
def fleet(
    lab_machine: None,  # noqa: ARG001
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    with own_lab("test-addresses", for_chosen(request, "addresses.yaml", "mv-rc")) as handle:
        outcome = deploy(handle, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield Fleet(handle, tmp_path_factory.mktemp("inventories"))


def told_nothing_wrong(work: Workload) -> None:
    """What the clients were told is what one store would have told them, and they waited for no more than a retry."""
    print(work.story())
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()


def names_in(fleet: Fleet, host: str, folder: str) -> str:
    """The names for which the certificate in use on a host is valid, and the files of its set."""
    asked = (
        f"openssl x509 -noout -ext subjectAltName -in $(ls {CERTS}/{folder}/*.pem | head -n 1); ls {CERTS}/{folder}/"
    )
    return output(fleet.lab, host, asked)


@pytest.mark.parametrize(
    ("cluster", "both"),
    [
        ("mv-rc", True),
        pytest.param(
            "mv-sd",
            False,
            marks=pytest.mark.thorough(
                "unit/plays/test_readdress.py::test_the_steps_of_a_change_of_address",
                "unit/etcd/test_readdressing.py::test_a_member_moves_only_while_the_others_carry_the_cluster",
            ),
        ),
    ],
)
def test_members_get_other_names_while_clients_work(fleet: Fleet, tmp_path: Path, cluster: str, both: bool) -> None:
    """With ``both``, Vault still signs for the old names, so that certificates fit both on the way."""
    hosts = members(fleet.lab, cluster)
    ids, running, urls = fleet.ids(cluster), start_times(fleet.lab), fleet.peer_urls(cluster)
    for host in hosts[:2]:
        fleet.rename(host, f"new-{host}.moving.home")

    refused = fleet.deploy(cluster)
    assert refused.exit_code == 1, refused.text
    assert "setup_pki.py" in refused.text, "the roles do not sign for the new names"
    fleet.set_up_pki(*(["--keep-names"] if both else []))
    rotated = fleet.deploy(cluster, runbook="rotate_certs")
    assert rotated.exit_code == 1, rotated.text
    assert "run deploy, which brings the member to another FQDN" in rotated.in_one_line
    said = fleet.deploy(cluster, "--check")
    assert said.exit_code == 0, said.text
    assert f"{hosts[0]} is brought to https://new-{hosts[0]}.moving.home:2380" in said.in_one_line
    assert fleet.peer_urls(cluster) == urls
    assert start_times(fleet.lab) == running, "nothing was done"

    with clients_at_work(fleet.lab, client_pair(fleet.lab, tmp_path, cluster, "root"), "renamed", hosts) as work:
        outcome = fleet.deploy(cluster)
        assert outcome.exit_code == 0, outcome.text
    told_nothing_wrong(work)
    assert ("are not valid for" in outcome.in_one_line) is not both, outcome.text
    assert fleet.ids(cluster) == ids
    assert fleet.peer_urls(cluster) == urls | {host: [f"https://new-{host}.moving.home:2380"] for host in hosts[:2]}
    after = start_times(fleet.lab)
    assert after[hosts[2]] == running[hosts[2]], "it was not restarted"
    for host in hosts[:2]:
        for folder in ("server", "client"):
            told = names_in(fleet, host, folder)
            assert f"new-{host}.moving.home" in told
            assert f"DNS:{host}.moving.home" not in told, "the old name is not in the certificate any more"
            assert f"\n{host}.moving.home.pem" not in told
    fleet.set_up_pki()
    fleet.whole(cluster)


KILLS = ("certificates", "start")
"""The steps after whose first change a run is killed."""


@pytest.mark.thorough("unit/plays/test_readdress.py::test_what_a_run_before_has_done_is_not_done_again")
def test_a_move_that_is_killed_on_the_way_is_finished_by_the_same_command(fleet: Fleet, tmp_path: Path) -> None:
    cluster = "mv-rc"
    hosts, ids = members(fleet.lab, cluster), fleet.ids(cluster)
    host = hosts[2]
    pair = client_pair(fleet.lab, tmp_path, cluster, "root")
    with clients_at_work(fleet.lab, pair, "killed", hosts) as work:
        for number, step in enumerate(KILLS):
            fleet.rename(host, f"{step}-{host}.moving.home")
            fleet.set_up_pki("--keep-names")
            running = begin_deploy(fleet.lab, "--cluster", cluster, config=fleet.write())

            def changed(step: str = step) -> bool:
                ended = events_of(running.events(), "step_finished", step)  # noqa: B023
                return host in ended or running.process.poll() is not None  # noqa: B023

            try:
                wait_for(f"{step} on {host}", changed, 120, every=0.005)
                assert running.process.poll() is None, number
            finally:
                running.kill()
            outcome = fleet.deploy(cluster)
            assert outcome.exit_code == 0, outcome.text
    told_nothing_wrong(work)
    assert fleet.ids(cluster) == ids
    assert fleet.peer_urls(cluster)[host] == [f"https://{KILLS[-1]}-{host}.moving.home:2380"]
    fleet.whole(cluster)


@pytest.mark.thorough(
    "lab/test_addresses.py::test_members_get_other_names_while_clients_work",
    "unit/plays/test_readdress.py::test_the_steps_of_a_change_of_address",
    "unit/etcd/test_readdressing.py::test_the_entry_is_updated_where_it_differs_and_only_there",
    "unit/etcd/test_readdressing.py::test_a_member_moves_only_while_the_others_carry_the_cluster",
)
def test_another_port_for_all_members(fleet: Fleet, tmp_path: Path) -> None:
    cluster = "mv-rc"
    hosts, ids = members(fleet.lab, cluster), fleet.ids(cluster)
    fleet.clusters[cluster] = {"peer_port": 12380}
    with clients_at_work(fleet.lab, client_pair(fleet.lab, tmp_path, cluster, "root"), "ports", hosts) as work:
        outcome = fleet.deploy(cluster)
        assert outcome.exit_code == 0, outcome.text
    told_nothing_wrong(work)
    assert fleet.ids(cluster) == ids
    assert all(url.endswith(":12380") for urls in fleet.peer_urls(cluster).values() for url in urls)
    fleet.whole(cluster)


RULES = """table ip gone {{
  chain in {{
    type filter hook input priority 0;
    iifname eth0 ip daddr {address} tcp dport {{ 2379, 2380 }} drop
    iifname eth0 ip daddr {address} tcp sport {{ 2379, 2380 }} drop
  }}
  chain out {{
    type filter hook output priority 0;
    oifname eth0 ip saddr {address} tcp dport {{ 2379, 2380 }} drop
    oifname eth0 ip saddr {address} tcp sport {{ 2379, 2380 }} drop
  }}
}}
"""


def in_network_of(fleet: Fleet, host: str, *argv: str, stdin: str = "") -> None:
    """Runs a program of this machine in the network of a host."""
    plan = fleet.lab.plan
    command = ["ip", "netns", "exec", plan.netns(plan.host(host)), *argv]
    subprocess.run(command, input=stdin, text=True, check=True, capture_output=True)


@pytest.mark.thorough(
    "unit/etcd/test_readdressing.py::test_without_a_majority_the_remedy_is_that_the_old_name_leads_to_the_host",
    "unit/plays/test_readdress.py::test_a_member_that_the_others_do_not_reach_is_asked_on_its_own_host",
)
def test_a_member_whose_old_address_is_gone_comes_back_at_its_new_one(fleet: Fleet, tmp_path: Path) -> None:
    """As after a new lease: etcd there still has its old address, at which no other member reaches it."""
    cluster = "mv-sd"
    first, second, host = members(fleet.lab, cluster)
    plan, ids, urls = fleet.lab.plan, fleet.ids(cluster), fleet.peer_urls(cluster)
    old, new = plan.host(host).address, str(plan.subnet[-3])
    in_network_of(fleet, host, "ip", "address", "add", f"{new}/{plan.subnet.prefixlen}", "dev", "eth0")
    in_network_of(fleet, host, "ip", "route", "replace", str(plan.subnet), "dev", "eth0", "src", new)
    in_network_of(fleet, host, "nft", "-f", "-", stdin=RULES.format(address=old))
    for each in (first, second, host):
        output(fleet.lab, each, f"echo '{new} {plan.host(host).fqdn}' >>/etc/hosts")
    fleet.hosts.setdefault(host, {})["address"] = new
    wait_for("the others have a leader", lambda: fleet.etcdctl(first, "endpoint health").returncode == 0)
    pair = client_pair(fleet.lab, tmp_path, cluster, "root")
    with clients_at_work(fleet.lab, pair, "lease", [first, second]) as work:
        outcome = fleet.deploy(cluster)
        assert outcome.exit_code == 0, outcome.text
    told_nothing_wrong(work)
    assert (fleet.ids(cluster), fleet.peer_urls(cluster)) == (ids, urls)
    assert new in names_in(fleet, host, "server")
    assert old not in names_in(fleet, host, "server")
    fleet.whole(cluster)


@pytest.mark.thorough("unit/plays/test_readdress.py::test_an_interruption_is_asked_for")
def test_a_single_member_moves_after_a_yes_and_not_while_it_is_stopped(fleet: Fleet) -> None:
    cluster = "mv-one"
    (host,) = members(fleet.lab, cluster)
    before = copy.deepcopy(fleet.hosts)
    fleet.rename(host, f"new-{host}.moving.home")
    fleet.set_up_pki()
    output(fleet.lab, host, "rc-service etcd stop")
    refused = fleet.deploy(cluster, "--yes")
    assert refused.exit_code == 3, refused.text
    assert "put the old member.fqdn" in refused.in_one_line
    moved, fleet.hosts = fleet.hosts, before
    fleet.set_up_pki()
    back = fleet.deploy(cluster)
    assert back.exit_code == 0, back.text

    fleet.hosts = moved
    fleet.clusters[cluster] = {"peer_port": 12380, "client_port": 12379}
    fleet.set_up_pki()
    asked = fleet.deploy(cluster)
    assert asked.exit_code == 3, asked.text
    assert "--yes" in asked.text
    assert fleet.peer_urls(cluster) == {host: [f"https://{host}.moving.home:2380"]}
    outcome = fleet.deploy(cluster, "--yes")
    assert outcome.exit_code == 0, outcome.text
    for runbook in ("verify", "status"):
        assert fleet.deploy(cluster, runbook=runbook).exit_code == 0
    again = fleet.deploy(cluster)
    assert (again.exit_code, again.changed) == (0, {host: 0}), again.text
