"""The runbook setup_pki with more than one cluster in the inventory."""

from __future__ import annotations

import copy
from typing import Any

from tests.unit.support.setup_fixtures import DOMAINS, good
from tests.unit.support.setup_fixtures import server as server
from tests.unit.support.setup_fixtures import site as site
from tests.unit.support.setup_site import Site

OTHER: dict[str, Any] = {
    "groups/shed": {"data": {"cluster": {"token": "shed"}}},
    "hosts/d": {
        "hostname": "192.0.2.4",
        "groups": ["shed", "systemd"],
        "data": {"member": {"fqdn": "d.home.test", "address": "192.0.2.4"}},
    },
}


def two() -> dict[str, Any]:
    return copy.deepcopy(OTHER)


def test_one_cluster_s_run_takes_nothing_from_the_others(site: Site) -> None:
    site.inventory(two())
    site.make_root()
    good(site.run("--cluster", "shed"))
    both = ["etcdfleet-home", "etcdfleet-shed"]
    assert site.get("auth/approle/role/etcdfleet")["token_policies"] == both
    assert site.names("pki_etcd_home_peer/issuers") == []
    ran = good(site.run("--limit", "a"))
    assert list(ran.report["hosts"]) == ["home"]
    assert site.get("auth/approle/role/etcdfleet")["token_policies"] == both
    assert good(site.run()).changes == []


def test_a_cluster_that_fails_does_not_stop_the_others(site: Site) -> None:
    site.inventory(two())
    site.make_root()
    site.server.call("POST", "sys/mounts/pki_etcd_home_client", {"type": "kv"})
    ran = site.run()
    assert ran.code == 1
    assert site.names("pki_etcd_shed_peer/roles") == ["etcd-peer"]
    assert not [step for step in ran.report["hosts"]["shed"]["steps"] if step["error"]]


def test_clusters_with_certificate_files_are_left_out(site: Site) -> None:
    files = site.folder / "files"
    files.mkdir()
    site.inventory({**two(), "groups/shed/data/pki": {"source": "files", "folder": "files"}})
    site.make_root()
    ran = good(site.run())
    assert {step["status"] for step in ran.report["hosts"]["shed"]["steps"]} == {"skipped"}
    assert "files" in ran.step("shed", "authorities")["summary"]
    assert site.get("auth/approle/role/etcdfleet")["token_policies"] == ["etcdfleet-home"]


def test_clusters_that_share_a_role_must_agree_on_it(site: Site) -> None:
    single = {"defaults/data/pki/trust": "single"}
    site.inventory({**two(), **single})
    site.make_root()
    good(site.run())
    found = site.get("pki_intermediate_ca/roles/etcd-peer")
    assert found["allowed_domains"] == [*DOMAINS, "d.home.test"]
    assert good(site.run()).changes == []
    site.inventory({**two(), **single, "groups/shed/data/pki": {"key_type": "ec-p256"}})
    before = site.state()
    ran = site.run("--yes")
    assert ran.code != 0
    assert "etcd-peer" in ran.text
    assert "shed" in ran.text
    assert site.state() == before


def test_clusters_that_share_an_app_role_must_agree_on_it(site: Site) -> None:
    site.inventory({**two(), "groups/shed/data/pki": {"setup": {"approle": {"token_ttl": "5m"}}}})
    site.make_root()
    before = site.state()
    ran = site.run("--yes")
    assert ran.code != 0
    assert "etcdfleet" in ran.text
    assert "token_ttl" in ran.text
    assert site.state() == before
