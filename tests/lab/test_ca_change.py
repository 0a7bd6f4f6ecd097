"""CAs that change in Vault below live clusters: no path is placed that a member's running etcd would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.certs import parse_pem_bundle
from lab import pki
from tests.lab.ca_changes import CrossSigned, another_ca, cross_sign, new_issuing_ca
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    deploy,
    for_chosen,
    inventory_variant,
    members,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import protection
from tests.lab.languages import in_three_languages, make_files
from tests.lab.load import Load, Pair, client_pair, missing, under_load
from tests.lab.watch import Watch, watching

CLUSTERS = ("c-sd", "c-rc")
OLD, NEW = "Home Root CA", "Home Root CA x2"


@dataclass(frozen=True)
class Changing:
    """Two clusters with one root for everything, and a second root in Vault."""

    handle: LabHandle
    config: Path
    cas: CrossSigned


@pytest.fixture(scope="module")
def changing(
    lab_machine: None,  # noqa: ARG001
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Changing]:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= {"trust": "single", "mount": pki.INTERMEDIATE}

    with own_lab("test-cachange", for_chosen(request, "ca-change.yaml", "c-rc")) as handle:
        config = inventory_variant(handle, tmp_path_factory.mktemp("single"), edit)
        outcome = deploy(handle, config=config, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield Changing(handle, config, cross_sign(handle))


def trusted(handle: LabHandle, host: str) -> list[str]:
    """The names of the CAs in a host's file of trust anchors, as openssl there reads them."""
    read = (
        f"openssl crl2pkcs7 -nocrl -certfile {CERTS}/rootCA.pem | openssl pkcs7 -print_certs -noout | "
        "sed -n 's/^subject.*CN *= *//p'"
    )
    return sorted(output(handle, host, read).splitlines())


def top(handle: LabHandle, host: str) -> set[str]:
    """Who signed the intermediates that lie in a host's three bundles."""
    fqdn = handle.plan.host(host).fqdn
    read = (
        f"for pair in server client etcdctl; do openssl crl2pkcs7 -nocrl -certfile {CERTS}/$pair/{fqdn}.pem | "
        "openssl pkcs7 -print_certs -noout | sed -n 's/^issuer.*CN *= *//p' | sed 1d; done"
    )
    return set(output(handle, host, read).splitlines())


def one_load(changing: Changing, folder: Path, cluster: str, prefix: str) -> Pair:
    """A client whose certificate leads to both roots (Go finds the way), and that knows members by either root."""
    pair = client_pair(changing.handle, folder, cluster, prefix, mount=pki.INTERMEDIATE)
    own, cross = (
        str(changing.cas.root.read(f"{pki.INTERMEDIATE}/issuer/{issuer}")["data"]["certificate"]).strip()
        for issuer in (changing.cas.own, changing.cas.cross)
    )
    leaf = pair.certificate.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    pair.certificate.write_text(f"{leaf}\n{own}\n{cross}\n")
    pair.anchors.write_text(changing.cas.roots)
    return pair


def change(
    changing: Changing, folder: Path, cluster: str, prefix: str, *args: str, runbook: str = "deploy"
) -> tuple[Outcome, Load, Watch]:
    """A run for one cluster while it is written to and watched; every acknowledged write is there afterwards."""
    handle, pair = changing.handle, one_load(changing, folder, cluster, prefix)
    with ExitStack() as stack:
        watch = stack.enter_context(watching(handle, members(handle, cluster)))
        load = stack.enter_context(under_load(handle, cluster, pair, prefix))
        outcome = deploy(handle, "--cluster", cluster, *args, config=changing.config, runbook=runbook, timeout=600)
    assert missing(handle, cluster, pair, prefix, load) == []
    return outcome, load, watch


def assert_moved(changing: Changing, cluster: str, to: str, outcome: Outcome, load: Load, watch: Watch) -> None:
    """The run is well, no client was cut off, never was more than one member down, and the next run changes nothing."""
    handle = changing.handle
    assert outcome.exit_code == 0, outcome.text
    print(f"{cluster}: {load.requests} requests, longest {load.longest:.2f} s, {load.most_retries} retries at most")
    assert not load.lost, load.said
    assert not load.wrong
    assert load.most_retries <= 1, load.said
    assert watch.most_down <= 1, watch.down
    assert unhealthy(handle, cluster) == ""
    for host in members(handle, cluster):
        assert trusted(handle, host) == [to]
        assert top(handle, host) == {to}
    again = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.thorough(
    "lab/test_ca_change.py::test_clients_in_three_languages_through_a_change_of_the_root",
    "lab/test_trust.py::test_to_separate_cas_under_load",
    "unit/certs/test_trust_worlds.py::test_members_accept_each_other_whatever_happens",
    "unit/certs/test_trust_worlds.py::test_the_model_finds_what_was_wrong",
    "unit/certs/test_cross.py::test_who_must_trust_the_other_root_first",
    "unit/plays/test_trust.py::test_check_restarts_nobody_and_says_who_would_be",
)
def test_the_intermediate_signed_by_a_new_root_with_its_own_key(changing: Changing, tmp_path: Path) -> None:
    """The smallest input: another certificate of the same CA issues, and the root's mount has another default.

    Before, deploy said "no new CA" and placed pairs below the new root on all three members at once, while their etcd
    trusted the old root alone: none of three answered any more. rotate_certs --ca never got through.
    """
    cluster = "c-rc"
    changing.cas.issue_by(changing.cas.cross)
    changing.cas.anchor(changing.cas.new_root)
    handle, running = changing.handle, start_times(changing.handle)
    said = deploy(handle, "--check", "--cluster", cluster, config=changing.config)
    assert said.exit_code == 0, said.text
    for host in members(handle, cluster):
        trust = said.step(host, "trust")
        assert trust["changes"] == [f"{CERTS}/rootCA.pem trusts {NEW} too"], said.text
        assert said.step(host, "start")["status"] == "changed", "two rolling restarts are to come"
        assert trusted(handle, host) == [OLD]
    assert start_times(handle) == running, "--check does nothing"
    outcome, load, watch = change(changing, tmp_path, cluster, "smallest", "--yes")
    assert_moved(changing, cluster, NEW, outcome, load, watch)


@pytest.mark.thorough(
    "unit/certs/test_cross.py::test_a_chain_with_both_is_no_broken_one",
    "unit/certs/test_cross.py::test_the_intermediate_that_leads_to_the_anchors_is_placed",
    "lab/test_ca_change.py::test_clients_in_three_languages_through_a_change_of_the_root",
)
def test_a_chain_with_both_certificates_of_the_ca(changing: Changing, tmp_path: Path) -> None:
    """``manual_chain``, as Vault documents a rotation of the root: whichever order, the one that fits is placed.

    The first time by rotate_certs.py --ca, the second by a deploy.

    Before, bundle() took the first of the two, and called what Vault gave a broken chain: exit code 1 for ever.
    """
    cas, handle, cluster = changing.cas, changing.handle, "c-rc"
    for host in members(handle, cluster):
        assert trusted(handle, host) == [NEW], "as the test before has left it"
    cas.issue_by(cas.own, (cas.own, cas.cross))
    cas.anchor(cas.new_root)
    still = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (still.exit_code, set(still.changed.values())) == (0, {0}), still.text
    cas.anchor(cas.old_root)
    outcome, load, watch = change(changing, tmp_path, cluster, "self-xc", "--yes", "--ca", runbook="rotate_certs")
    assert_moved(changing, cluster, OLD, outcome, load, watch)
    cas.issue_by(cas.cross, (cas.cross, cas.own))
    still = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (still.exit_code, set(still.changed.values())) == (0, {0}), still.text
    cas.anchor(cas.new_root)
    outcome, load, watch = change(changing, tmp_path, cluster, "xc-self", "--yes")
    assert_moved(changing, cluster, NEW, outcome, load, watch)


def test_clients_in_three_languages_through_a_change_of_the_root(changing: Changing, tmp_path: Path) -> None:
    """The run stops before it cuts clients off, and says which file to hand out; with that, no call fails.

    Before, what members show was changed unasked, and each of these clients was refused from then on.
    """
    cas, handle, cluster, config = changing.cas, changing.handle, "c-rc", changing.config
    first = make_files(handle, cluster, tmp_path / "first", config=config)
    assert first.exit_code == 0, first.text
    (now,) = trusted(handle, members(handle, cluster)[0])
    to = OLD if now == NEW else NEW
    cas.issue_by(cas.own if to == OLD else cas.cross)
    cas.anchor(cas.old_root if to == OLD else cas.new_root)
    early = make_files(handle, cluster, tmp_path / "early", config=config)
    assert early.exit_code == 1, early.text
    assert f"c-rc-1, c-rc-2, c-rc-3 trust '{now}'" in early.error(cluster)
    assert "rotate_certs.py --ca" in early.error(cluster)
    assert not (tmp_path / "early").exists(), "files that would work nowhere are not made"
    with (
        watching(handle, members(handle, cluster)) as watch,
        in_three_languages(handle, cluster, tmp_path, "first") as clients,
    ):
        clients.assert_well("before")
        stopped = deploy(handle, "--cluster", cluster, config=config)
        said = protection(stopped, cluster)
        assert f"by '{now}' alone" in said.what
        assert "client_cert.py NAME --cluster c-rc --ca-only" in said.remedy
        for host in members(handle, cluster):
            assert trusted(handle, host) == [OLD, NEW]
            assert top(handle, host) == {now}, "members show what clients know"
        clients.assert_well("members trust both roots")
        both = clients.hand_out("both", config=config)
        assert both.exit_code == 0, both.text
        assert (tmp_path / "both" / "ca.pem").read_text().count("BEGIN") == 2
        clients.assert_well("with a file of both")
        outcome = deploy(handle, "--cluster", cluster, "--yes", config=config)
        assert outcome.exit_code == 0, outcome.text
        clients.assert_well("the change of root")
        assert clients.hand_out("after", config=config).exit_code == 0
        assert (tmp_path / "after" / "ca.pem").read_text().count("BEGIN") == 1
        clients.assert_well("with the new root alone")
    assert watch.most_down <= 1, f"down at the same time: {watch.down}"
    for host in members(handle, cluster):
        assert (trusted(handle, host), top(handle, host)) == ([to], {to})


@pytest.mark.thorough(
    "lab/test_ca_change.py::test_clients_in_three_languages_through_a_change_of_the_root",
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
    "unit/certs/test_trust.py::test_whose_certificates_would_be_refused_after_a_ca_is_dropped",
)
def test_clients_in_three_languages_through_changes_of_the_issuing_ca(changing: Changing, tmp_path: Path) -> None:
    """From one CA for everything to separate ones, then another CA in the same mount: a file with the root outlives it.

    Before, ``ca.pem`` held the issuing CA alone: Python and node could not use it at all, and Go was cut off.
    """
    handle, cluster = changing.handle, "c-sd"
    changing.cas.issue_by(changing.cas.own)
    changing.cas.anchor(changing.cas.old_root)
    assert make_files(handle, cluster, tmp_path / "first", config=changing.config).exit_code == 0
    with in_three_languages(handle, cluster, tmp_path, "first") as clients:
        clients.assert_well("before")
        outcome = deploy(handle, "--cluster", cluster)
        assert outcome.exit_code == 0, outcome.text
        clients.assert_well("separate CAs below the root that clients have")
        separate = clients.hand_out("separate")
        assert separate.exit_code == 0, separate.text
        assert names(tmp_path / "separate" / "ca.pem") == ["etcd c-sd client CA", OLD]
        outcome = deploy(handle, "--cluster", cluster, "--yes")
        assert outcome.exit_code == 0, outcome.text
        clients.assert_well("the previous CA is trusted no longer")
        assert "a change of CA is due" not in seen(handle, cluster)
        new_issuing_ca(handle, cluster)
        said = seen(handle, cluster)
        assert said.count("a change of CA is due") == 2, "by status, and by verify: nothing on the hosts shows it"
        assert "issues by 'etcd c-sd client CA the second' now" in said
        alone = make_files(handle, cluster, tmp_path / "alone", "--ca-only")
        assert alone.exit_code == 0, alone.text
        assert names(tmp_path / "alone" / "ca.pem") == ["etcd c-sd client CA the second", OLD, "etcd c-sd client CA"]
        assert [path.name for path in (tmp_path / "alone").iterdir()] == ["ca.pem"]
        stopped = deploy(handle, "--cluster", cluster, "--ca", runbook="rotate_certs")
        assert "by 'etcd c-sd client CA' alone" in protection(stopped, cluster).what
        clients.assert_well("members trust both CAs")
        outcome = deploy(handle, "--cluster", cluster, "--ca", "--clients-ready", runbook="rotate_certs")
        assert outcome.exit_code == 0, outcome.text
        clients.assert_well("certificates of the new CA, and the previous file")
        assert clients.hand_out("new").exit_code == 0
        outcome = deploy(handle, "--cluster", cluster, "--ca", "--yes", runbook="rotate_certs")
        assert outcome.exit_code == 0, outcome.text
        clients.assert_well("the new CA alone")
        assert "a change of CA is due" not in seen(handle, cluster)
    again = deploy(handle, "--cluster", cluster)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.thorough(
    "unit/certs/test_trust.py::test_one_member_that_has_moved_on_does_not_hide_the_others",
    "lab/test_trust.py::test_one_host_alone_gets_no_certificate_of_a_ca_that_the_others_do_not_trust",
)
def test_a_run_for_one_host_looks_at_the_others(changing: Changing) -> None:
    """One member trusts another CA already, as a run that was cut off leaves it; the others do not.

    Before, a run for this host alone looked at this host alone, and gave it a certificate that the others refuse.
    """
    handle, cluster = changing.handle, "c-sd"
    assert deploy(handle, "--cluster", cluster, "--yes", timeout=600).exit_code == 0, "with separate CAs"
    mount = pki.side_mount(cluster, "peer")
    pem = another_ca(changing.cas.root, mount, "etcd c-sd peer CA, one more")
    first = members(handle, cluster)[0]
    output(handle, first, f"cat >> {CERTS}/peerCA.pem <<'END'\n{pem.strip()}\nEND\nsystemctl restart etcd")
    wait_for("the cluster is healthy", lambda: unhealthy(handle, cluster) == "")
    before = output(handle, first, f"readlink {CERTS}/server")
    for runbook, args in (("deploy", ("--yes",)), ("rotate_certs", ("--force",)), ("rotate_certs", ("--ca", "--yes"))):
        stopped = deploy(handle, "--limit", first, *args, runbook=runbook)
        assert "c-sd-2 does not trust 'etcd c-sd peer CA, one more'" in protection(stopped, cluster).what
        assert output(handle, first, f"readlink {CERTS}/server") == before
    outcome = deploy(handle, "--cluster", cluster, "--yes")
    assert outcome.exit_code == 0, outcome.text
    assert output(handle, first, f"grep -c BEGIN {CERTS}/peerCA.pem").strip() == "1"


def seen(handle: LabHandle, cluster: str) -> str:
    """What status and verify say, each sentence on one line and once; that a change is due is no failure."""
    found = []
    for runbook in ("status", "verify"):
        outcome = deploy(handle, "--cluster", cluster, runbook=runbook)
        assert outcome.exit_code == 0, outcome.text
        text = " ".join(outcome.text.split())
        found.append("; ".join(dict.fromkeys(re.findall(r"issues by '[^']*' now|a change of CA is due", text))))
    return "; ".join(found)


def names(path: Path) -> list[str]:
    """The names of the CAs in a file, in its order."""
    return [certificate.common_name for certificate in parse_pem_bundle(path.read_text())]
