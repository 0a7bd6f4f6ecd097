"""Faults while certificates are replaced.

Each ends in a healthy cluster, a report that says what is wrong, and a next run that completes.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import lab.vault
from lab import daemons, faketime, pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import CERTS, TOPOLOGIES, Outcome, deploy, output, own_lab
from tests.lab.fault_helpers import failure, protection
from tests.lab.rotate_helpers import (
    assert_sound,
    begin_rotate,
    due_config,
    makes_keys,
    reach,
    replaced,
    rotate,
    seen,
    serials,
    set_in_use,
    standing_still,
)

CLUSTER = "r-rc"
HOSTS = ("r-rc-1", "r-rc-2", "r-rc-3")


@pytest.fixture(scope="module")
def cluster(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Three members that are well."""
    with own_lab("test-rotfault", TOPOLOGIES / "rotate-faults.yaml") as handle:
        outcome = deploy(handle, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield handle


@contextmanager
def vault_silent(handle: LabHandle) -> Iterator[None]:
    """Vault stands still (SIGSTOP) within the block."""
    daemons.signal_main(handle.plan, lab.vault.DAEMON, signal.SIGSTOP)
    try:
        yield
    finally:
        daemons.signal_main(handle.plan, lab.vault.DAEMON, signal.SIGCONT)


def order(outcome: Outcome) -> list[str]:
    """The hosts in the order in which the step rotate began on them, then those it did not reach."""
    begun = [e["host"] for e in outcome.events if e["event"] == "step_started" and e["step"] == "rotate"]
    return [*begun, *(host for host in HOSTS if host not in begun)]


def completes(handle: LabHandle, config: Path, left: list[str], *args: str) -> Outcome:
    """The next run does what is left, and nothing else; then all is well."""
    before = serials(handle, CLUSTER)
    outcome = rotate(handle, *args, config=config)
    assert outcome.exit_code == 0, outcome.text
    assert replaced(before, serials(handle, CLUSTER)) == sorted(left), outcome.text
    assert_sound(handle, CLUSTER)
    return outcome


@contextmanager
def stopped(handle: LabHandle, host: str) -> Iterator[None]:
    """etcd does not run on a host; afterwards it does."""
    output(handle, host, "rc-service -q etcd stop")
    try:
        yield
    finally:
        output(handle, host, "rc-service -q etcd zap; rc-service -q etcd start")


@contextmanager
def changed_role(handle: LabHandle, role: pki.Role, **changes: Any) -> Iterator[None]:
    """Vault's role for the certificates of ``role`` has other parameters."""
    root = lab.vault.client(handle.plan)
    mount = pki.side_mount(CLUSTER, "peer" if role == "peer" else "client")
    path = f"{mount}/roles/{pki.role_names(CLUSTER)[role]}"
    usual = root.read(path)["data"]
    root.write_data(path, data={**usual, **changes})
    try:
        yield
    finally:
        root.write_data(path, data=usual)


def blind_token(handle: LabHandle) -> str:
    """A token that may use the roles and not read them: what they give is seen only afterwards."""
    mounts = {role: pki.side_mount(CLUSTER, "peer" if role == "peer" else "client") for role in pki.role_names(CLUSTER)}
    rights = "".join(
        f'path "{mounts[role]}/sign/{name}" {{ capabilities = ["update"] }}\n'
        for role, name in pki.role_names(CLUSTER).items()
    )
    root = lab.vault.client(handle.plan)
    root.sys.create_or_update_policy("blind", rights)
    return str(root.auth.token.create(policies=["blind"], ttl="1h")["auth"]["client_token"])


def another_issuer(handle: LabHandle) -> str:
    """Another CA in the clients' mount, which the mount does not issue from by itself; its id."""
    root = lab.vault.client(handle.plan)
    mount = pki.side_mount(CLUSTER, "client")
    name = {"common_name": f"etcd {CLUSTER} client the stranger", "key_type": "ec", "key_bits": 256, "ttl": "131400h"}
    made = root.write_data(f"{mount}/issuers/generate/root/internal", data=name)
    return str(made["data"]["issuer_id"])


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_a_member_that_did_not_prove_itself_stops_the_others",
    "unit/plays/test_certificates.py::test_plans_are_carried_out",
    "unit/vault/test_client.py::test_sealed_and_killed",
    "unit/tasks/certificates/test_keys.py::test_a_key_left_by_a_killed_run_is_replaced",
    "lab/test_rotate_faults.py::test_a_host_is_cut_off_when_they_are_placed",
)
def test_vault_is_sealed_half_way(cluster: LabHandle, tmp_path: Path) -> None:
    """After the first member is done: that one stays done, the second says why not, the third is not touched."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    run = begin_rotate(cluster, config=config)
    reach(run, "the first member is done", seen(run, "step_finished", "rotate"))
    with standing_still(run):
        lab.vault.seal(cluster.plan)
    try:
        outcome = run.finish()
    finally:
        lab.vault.unseal(cluster.plan)
    first, second, third = order(outcome)
    block = failure(outcome, second, "rotate", within=60)
    assert "Vault is sealed" in block.what
    assert "operator unseal" in block.remedy
    assert outcome.step(third, "rotate")["summary"] == f"not touched, since {second} failed"
    assert replaced(before, serials(cluster, CLUSTER)) == [first]
    assert_sound(cluster, CLUSTER)
    completes(cluster, config, [second, third])


def test_a_role_that_gives_wrong_certificates(cluster: LabHandle, tmp_path: Path) -> None:
    """The peers' role is for servers only, and its token may not read it; the clients' role issues from another CA."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    usages = {"server_flag": True, "client_flag": False, "ext_key_usage": ["ServerAuth"]}
    with changed_role(cluster, "peer", **usages):
        blind = rotate(cluster, config=config, env={"VAULT_TOKEN": blind_token(cluster)})
    with changed_role(cluster, "client", issuer_ref=another_issuer(cluster)):
        foreign = rotate(cluster, config=config)
    for outcome, words in ((blind, "peer certificate is not fit"), (foreign, "client certificate is not fit")):
        first, *others = order(outcome)
        block = failure(outcome, first, "rotate", within=60)
        assert words in block.what
        assert outcome.failed == [first]
        for other in others:
            assert outcome.step(other, "rotate")["summary"] == f"not touched, since {first} failed"
    assert "etcd r-rc client the stranger" in failure(foreign, order(foreign)[0], "rotate", within=60).what
    assert serials(cluster, CLUSTER) == before
    assert_sound(cluster, CLUSTER)
    completes(cluster, config, list(HOSTS))


@pytest.mark.thorough(
    "lab/test_failures.py::test_disk_that_fills_up_after_the_preflight",
    "unit/remote/test_host.py::test_when_one_file_cannot_be_written_none_is_replaced_and_nothing_is_left",
    "unit/remote/test_host.py::test_a_full_disk_says_so_and_what_to_do",
)
def test_the_disk_is_full_while_they_are_placed(cluster: LabHandle, tmp_path: Path) -> None:
    """There is room for the new keys on one host, and not for what is placed with them."""
    config, before, host = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER), HOSTS[1]
    sets = f"{CERTS}/sets"
    output(cluster, host, f"cp -a {sets} {sets}.there && mount -t tmpfs -o size=1M,mode=755 tmpfs {sets}")
    output(cluster, host, f"cp -a {sets}.there/. {sets}/ && rm -rf {sets}.there")
    # Five pages: three keys, and one file beside them while they are made.
    output(
        cluster,
        host,
        f"cd {sets}; dd if=/dev/zero of=filler bs=4k 2>/dev/null; truncate -s $(($(stat -c %s filler) - 20480)) filler",
    )
    try:
        outcome = rotate(cluster, "--limit", host, config=config)
    finally:
        output(cluster, host, f"rm {sets}/filler")
    block = failure(outcome, host, "rotate", within=60)
    assert "placing certificates failed" in block.what
    assert "No space left" in block.what
    assert "free space" in block.remedy
    assert serials(cluster, CLUSTER) == before
    assert_sound(cluster, CLUSTER)
    completes(cluster, config, [host], "--limit", host)


def test_a_host_is_cut_off_when_they_are_placed(cluster: LabHandle, tmp_path: Path) -> None:
    """Placed, and not yet looked at. The run ends, and says that it could neither prove nor put back."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    sets = {host: set_in_use(cluster, host) for host in HOSTS}
    run = begin_rotate(cluster, config=config)
    reach(run, "placed", lambda: any(set_in_use(cluster, host) != sets[host] for host in HOSTS))
    with standing_still(run):
        first = next(host for host in HOSTS if set_in_use(cluster, host) != sets[host])
        cluster.cut(first)
    try:
        outcome = run.finish(180)
    finally:
        cluster.heal(first)
    block = failure(outcome, first, "rotate", within=120)
    assert "the SSH connection was lost" in block.what
    assert "could not be restored" in block.what
    assert replaced(before, serials(cluster, CLUSTER)) == [first]
    assert_sound(cluster, CLUSTER)
    # The host may not know yet that the run is over.
    completes(cluster, config, [host for host in HOSTS if host != first], "--break-lock", "--yes")


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_allow_degraded_goes_on_without_the_sick",
    "unit/certs/test_rotation.py::test_allowed_the_healthy_majority_is_done",
    "lab/test_rotate.py::test_a_member_that_is_down_stops_the_cluster",
)
def test_a_member_is_down_and_the_others_are_allowed(cluster: LabHandle, tmp_path: Path) -> None:
    """The sick one is left out, and said; with two down the third is not healthy either, and nothing is touched."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    down, other, third = HOSTS
    with stopped(cluster, down):
        idle = rotate(cluster)
        degraded = rotate(cluster, "--allow-degraded", config=config)
        after = serials(cluster, CLUSTER)
        with stopped(cluster, other):
            refused = rotate(cluster, "--allow-degraded", "--force", config=config)
    assert (idle.exit_code, set(idle.changed.values())) == (0, {0}), idle.text
    assert "no certificate is due, but its member is not healthy: etcd does not run" in " ".join(idle.text.split())
    block = failure(degraded, down, "rotate", within=120)
    assert "etcd does not run" in block.what
    assert degraded.failed == [down], degraded.text
    assert replaced(before, after) == [other, third]
    for host in (other, third):
        assert "replaced and proven" in degraded.step(host, "rotate")["summary"]
    assert "0 of 3 are healthy, and 2 are needed" in protection(refused, CLUSTER).remedy
    assert serials(cluster, CLUSTER) == after
    assert_sound(cluster, CLUSTER)
    completes(cluster, config, [down])


@pytest.mark.parametrize(
    "damage",
    [
        "truncate -s 0 client/*.key",
        pytest.param(
            "rm etcdctl/*.pem",
            marks=pytest.mark.thorough(
                "unit/certs/test_rotation.py::test_a_member_that_cannot_be_asked_for_want_of_a_pair_gets_one"
            ),
        ),
    ],
)
def test_a_pair_was_damaged_by_hand(cluster: LabHandle, tmp_path: Path, damage: str) -> None:
    """Neither can etcdctl ask without its pair, nor etcd answer: that host is mended first, the others as always."""
    config = due_config(cluster, tmp_path, CLUSTER)
    damaged = set_in_use(cluster, HOSTS[1], damage.split()[-1].partition("/")[0])
    output(cluster, HOSTS[1], f"cd {CERTS} && {damage}")
    outcome = rotate(cluster, config=config)
    output(cluster, HOSTS[1], f"rm -rf {CERTS}/{damaged}")
    assert outcome.exit_code == 0, outcome.text
    assert order(outcome)[0] == HOSTS[1]
    assert "healthy again" in outcome.step(HOSTS[1], "rotate")["summary"]
    for host in (HOSTS[0], HOSTS[2]):
        assert "replaced and proven" in outcome.step(host, "rotate")["summary"]
    assert_sound(cluster, CLUSTER)


@pytest.mark.thorough(
    "unit/checks/test_cluster.py::test_what_was_so_before_is_no_fault_of_the_change",
    "unit/checks/test_cluster.py::test_a_service_that_was_not_enabled_is_still_not",
    "lab/test_nospace.py::test_certificates_of_a_full_cluster_are_renewed",
)
def test_what_was_wrong_before_is_not_held_against_new_certificates(cluster: LabHandle, tmp_path: Path) -> None:
    """Not enabled at boot: said, and a failure in the end; the certificates would end with it if they had to wait."""
    before = serials(cluster, CLUSTER)
    output(cluster, HOSTS[0], "rc-update -q del etcd default")
    try:
        outcome = rotate(cluster, config=due_config(cluster, tmp_path, CLUSTER))
    finally:
        output(cluster, HOSTS[0], "rc-update -q add etcd default")
    assert replaced(before, serials(cluster, CLUSTER)) == [*HOSTS]
    assert (outcome.exit_code, outcome.failed) == (1, [HOSTS[0]]), outcome.text
    assert "not enabled at boot" in failure(outcome, HOSTS[0], "verify", within=120).what
    assert_sound(cluster, CLUSTER)


@pytest.mark.thorough(
    "unit/certs/test_decide.py::test_a_wrong_clock_of_the_host_is_explained",
    "lab/test_failures.py::test_clock_a_year_off",
)
def test_the_clock_of_a_host_is_wrong(cluster: LabHandle, tmp_path: Path) -> None:
    """So far ahead that all certificates seem to have expired: nothing is placed."""
    config, before, target = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER), HOSTS[1]
    faketime.set(cluster.plan, cluster.plan.host(target), "+9y")
    try:
        outcome = rotate(cluster, config=config)
    finally:
        faketime.clear(cluster.plan, cluster.plan.host(target))
    block = failure(outcome, target, "decide", code=3, within=60)
    assert "its clock is" in block.what
    assert "set the clock" in block.remedy
    assert serials(cluster, CLUSTER) == before
    assert_sound(cluster, CLUSTER)


def test_interrupted_by_the_person(cluster: LabHandle, tmp_path: Path) -> None:
    """Ctrl-C while the first member has its new pair and no proof yet: that is finished, and nothing else begun."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    sets = {host: set_in_use(cluster, host) for host in HOSTS}
    run = begin_rotate(cluster, config=config)
    reach(run, "placed", lambda: any(set_in_use(cluster, host) != sets[host] for host in HOSTS))
    run.interrupt()
    outcome = run.finish(120)
    assert outcome.exit_code == 130, outcome.text
    assert outcome.report["status"] == "interrupted"
    first, *others = order(outcome)
    assert "replaced and proven" in outcome.step(first, "rotate")["summary"]
    assert outcome.failed == []
    for host in others:
        assert (outcome.step(host, "rotate")["status"], outcome.step(host, "rotate")["summary"]) == (
            "skipped",
            "interrupted",
        )
    assert replaced(before, serials(cluster, CLUSTER)) == [first]
    assert_sound(cluster, CLUSTER)
    completes(cluster, config, others)


def test_the_lock_of_a_run_that_hangs_is_broken(cluster: LabHandle, tmp_path: Path) -> None:
    """The second is told who holds it, with --break-lock it works; the first one, awake again, places nothing."""
    config = due_config(cluster, tmp_path, CLUSTER)
    run = begin_rotate(cluster, config=config)
    reach(run, "the first member is done", seen(run, "step_finished", "rotate"))
    # Vault answers nobody until the run stands still: so the next member's keys wait for their certificates.
    with ExitStack() as stack:
        with vault_silent(cluster):
            reach(run, "another has keys made", lambda: any(makes_keys(cluster, host) for host in HOSTS))
            stack.enter_context(standing_still(run))
        told = rotate(cluster, config=config)
        assert f"process {run.process.pid}" in protection(told, CLUSTER).what
        assert "--break-lock" in protection(told, CLUSTER).remedy
        broken = rotate(cluster, "--force", "--break-lock", "--yes", config=config)
        after = serials(cluster, CLUSTER)
    first = run.finish(120)
    assert broken.exit_code == 0, broken.text
    assert first.exit_code == 3, first.text
    assert "lock" in protection(first, CLUSTER).what
    assert serials(cluster, CLUSTER) == after
    assert_sound(cluster, CLUSTER)


@pytest.mark.parametrize(
    "usable",
    [
        pytest.param(
            True,
            marks=pytest.mark.thorough(
                "lab/test_rotate_faults.py::test_killed_between_placing_and_proof",
                "unit/certs/test_rotation.py::test_what_nobody_saw_at_work_is_kept_on_a_healthy_member_only",
                "unit/plays/test_rotate.py::test_what_an_ended_run_has_placed_is_proven",
            ),
        ),
        False,
    ],
)
def test_killed_between_placing_and_proof(cluster: LabHandle, tmp_path: Path, usable: bool) -> None:
    """The next run proves what it finds; a pair that etcd cannot use, and nobody saw at work, does not stay."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    sets = {host: set_in_use(cluster, host) for host in HOSTS}
    run = begin_rotate(cluster, config=config)
    reach(run, "a member's new pair is in place", lambda: any(set_in_use(cluster, h) != sets[h] for h in HOSTS))
    run.kill()
    (host,) = replaced(before, serials(cluster, CLUSTER))
    placed = serials(cluster, CLUSTER)[host]
    if not usable:
        output(cluster, host, f"chown root:root {CERTS}/client/*.key")
    outcome = rotate(cluster, "--limit", host, "--break-lock", "--yes", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.step(host, "verify")["status"] == "ok"
    assert (serials(cluster, CLUSTER)[host] == placed) == usable
    again = rotate(cluster, "--limit", host, config=config)
    assert (again.exit_code, again.step(host, "verify")["status"]) == (0, "skipped"), again.text
    completes(cluster, config, [other for other in HOSTS if other != host])


# Each with the numbers of members that may have new certificates by then: what a host was told to do it does, though
# nobody listens any more.
MOMENTS = {
    "a member is done": ("step_finished", "rotate", 1, {1, 2}),
    "it verifies": ("step_started", "verify", 1, {3}),
}


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_what_an_ended_run_has_placed_is_proven",
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
    "lab/test_rotate_faults.py::test_killed_between_placing_and_proof",
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_between_two_steps(cluster: LabHandle, tmp_path: Path, moment: str) -> None:
    """kill -9 of the run, then health; the next run does what the one before did not come to."""
    config, before = due_config(cluster, tmp_path, CLUSTER), serials(cluster, CLUSTER)
    event, step, number, expected = MOMENTS[moment]
    run = begin_rotate(cluster, config=config)
    reach(run, moment, seen(run, event, step, number))
    run.kill()
    assert_sound(cluster, CLUSTER, killed=True)
    done = replaced(before, serials(cluster, CLUSTER))
    assert len(done) in expected
    completes(cluster, config, [host for host in HOSTS if host not in done], "--break-lock", "--yes")
