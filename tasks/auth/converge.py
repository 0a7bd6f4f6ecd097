"""etcd's roles, users and authentication: read and changed by etcdctl on one member's host, for the whole cluster.

What to do is decided in ``etcdfleet/etcd/auth.py``; on which host, and when, in ``plays/access.py``.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.certs import parse_pem_bundle
from etcdfleet.errors import CertificateError, ProtectionError, UsageError, VerificationError
from etcdfleet.etcd.auth import RESCUE, AuthPlan, AuthState, Operation, Proof, lockout, plan_auth, wanted_auth
from etcdfleet.etcd.auth_answers import refusal
from etcdfleet.outcome import StepOutcome, done
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import counted
from tasks.auth.calls import WAY_OUT, ask, call, read_roles_of_users, read_state, run_operations
from tasks.observe import Observed, Site, site_of

PROOF_TRIES = 5
LONGEST_PASSWORD = 72
"""In bytes. bcrypt, which etcd keeps passwords by, looks at no more."""


@dataclass(frozen=True, kw_only=True)
class Proven(StepOutcome):
    """The outcome of `prove_access`, with the proof itself."""

    proof: Proof


def is_renamed(task: Task) -> Result:
    """Return whether the client certificate on a running member's host names another user than the inventory says."""
    site = site_of(task)
    observed = site.observe()
    there = client_name(observed)
    wanted = site.settings.pki.client_common_name
    return Result(task.host, result=observed.service.running and bool(there) and there != wanted)


def prove_access(task: Task) -> Result:
    """Read which user the host's own client certificate names, and try it; change nothing.

    What is tried needs role root while authentication is on. Raises `RemoteError` when the host cannot be reached;
    whatever etcd says is in the proof.
    """
    site = site_of(task)
    observed = site.observe()
    refused = "etcd does not run"
    if observed.service.running:
        answer = site.remote.run(call(site.settings, "-w json user list"), timeout=2 * timeouts.ETCDCTL_PATIENT)
        refused = "" if answer.ok else refusal(answer.stderr)
    proof = Proof(site.settings.name, client_name(observed), refused, site.settings.client_url)
    summary = f"etcd obeys {proof.common_name or 'it'}" if not refused else f"not proven: {refused}"
    return Result(task.host, result=Proven(summary, proof=proof))


def client_name(observed: Observed) -> str:
    """Return the user that the client certificate on the host names; empty if there is none that can be read."""
    pair = observed.facts.pairs.get("client")
    try:
        return parse_pem_bundle(pair.pem)[0].common_name if pair else ""
    except CertificateError:
        return ""


def converge_auth(
    task: Task, proofs: Sequence[Proof], unseen: Sequence[str] = (), early: bool = False, prune: bool = False
) -> Result:
    """Bring roles, users and authentication of the host's cluster to what the inventory says.

    To be run on one member of a cluster. ``proofs`` are what `prove_access` found on all of them but those ``unseen``.
    ``early`` says that certificates or members are still to be changed (with --check): nothing follows from what they
    are now. Authentication is turned on only when the certificates of all hosts were proven to be root's, and turned
    off again at once should they not be obeyed then. Raises `ProtectionError` rather than lock anyone out,
    `UsageError` when a password is needed and not there, `VerificationError` when etcd refuses or does not answer.
    """
    site = site_of(task)
    settings = site.settings
    wanted = wanted_auth(settings.auth, settings.pki.client_common_name)
    in_use = [proof.common_name for proof in proofs if proof.common_name]
    passwords = dict(passwords_of(settings.auth))
    readable = any(not proof.refusal for proof in proofs) or not task.is_dry_run()
    state = read_state(site, wanted, passwords) if readable else AuthState(enabled=False)
    plan = plan_auth(wanted, state, prune=prune, in_use=in_use)
    plans, warnings = [plan], _unchecked(settings.auth, passwords)
    if plan.turn_on:
        if not early:
            then = AuthState(False, users=wanted.users)
            _refuse_lockout(settings, lockout(settings.pki.client_common_name, then, proofs))
        if unseen:
            warnings.append(
                f"authentication is turned on without {', '.join(unseen)}: whether etcdctl there acts as root is not "
                "known; run deploy on all hosts when they are back"
            )
    if plan.changes and not task.is_dry_run():
        _carry_out(site, plan, passwords, proofs)
        state = read_state(site, wanted, passwords)
        # Whether passwords are right can be tried only now, if authentication was off before.
        rest = plan_auth(wanted, state, prune=prune, in_use=in_use)
        if rest.changes:
            plans.append(rest)
            _carry_out(site, rest, passwords, proofs)
            state = read_state(site, wanted, passwords)
            if left := plan_auth(wanted, state, prune=prune, in_use=in_use).changes:
                raise VerificationError(
                    f"etcd took the changes, but still differs from the inventory: {'; '.join(left)}",
                    where=settings.name,
                    remedy="is another person or program changing roles and users at the same time? If not, look at "
                    "etcd's log",
                )
    facts = {"auth": {"enabled": state.enabled, "roles": sorted(state.roles), "users": sorted(state.users)}}
    return done(
        task,
        _summary(state, plan, readable=readable),
        [change for each in plans for change in each.changes],
        dict.fromkeys([*plan.warnings, *warnings, *plans[-1].warnings]),
        facts if readable else None,
        diff="".join(each.diff for each in plans),
    )


def read_access(task: Task) -> Result:
    """Read what etcd on this host says of roles and users: an `AuthState`, or None."""
    site = site_of(task)
    try:
        state = read_state(site, wanted_auth(site.settings.auth, site.settings.pki.client_common_name), {})
    except VerificationError:
        state = None
    return Result(task.host, result=state)


def _carry_out(site: Site, plan: AuthPlan, passwords: Mapping[str, str], proofs: Sequence[Proof]) -> None:
    missing = [one.password_of for one in plan.operations if one.password_of and one.password_of not in passwords]
    if missing:
        variable = site.settings.auth.users[missing[0]].password_env
        raise UsageError(
            f"user {missing[0]} is to have the password in {variable}, and that is not set",
            where=site.settings.name,
            remedy=f"read -rs {variable}; export {variable}; then run again",
        )
    if plan.turn_off:
        run_operations(site, [Operation("~", "authentication", "auth disable")])
    run_operations(site, plan.operations, passwords)
    if plan.turn_on:
        _turn_on(site, proofs)


def _turn_on(site: Site, proofs: Sequence[Proof]) -> None:
    """Turn authentication on, and off again should the hosts' certificates not be obeyed then.

    No certificate can be tried as a user while authentication is off: what its name is good for shows only afterwards.
    So there is a way back that needs none: a user with role root and a random password, gone when all is proven.
    """
    settings, name = site.settings, site.settings.pki.client_common_name
    users = read_roles_of_users(site)
    _refuse_lockout(settings, lockout(name, AuthState(False, users=users), proofs))
    password = secrets.token_urlsafe(24)
    REDACTOR.add(password)
    drop = Operation("-", f"user {RESCUE}", f"user delete {RESCUE}")
    run_operations(
        site,
        [
            *([drop] if RESCUE in users else []),
            Operation("+", f"user {RESCUE}", f"user add --interactive=false {RESCUE}", RESCUE),
            Operation("+", f"user {RESCUE}: role root", f"user grant-role {RESCUE} root"),
            Operation("~", "authentication", "auth enable"),
        ],
        {RESCUE: password},
    )
    refused = _not_obeyed(site, [proof.endpoint for proof in proofs])
    if refused:
        back = site.remote.run(
            call(settings, "auth disable", user=RESCUE, password=password), timeout=2 * timeouts.ETCDCTL_PATIENT
        )
        if not back.ok:
            raise ProtectionError(
                f"authentication is on, but {refused}; it could not be turned off again: {refusal(back.stderr)}",
                where=settings.name,
                remedy=WAY_OUT,
            )
    run_operations(site, [drop])
    if refused:
        raise ProtectionError(
            f"authentication was turned off again, because with it {refused}",
            where=settings.name,
            remedy="run deploy first: members take names from certificates only when they run with client-cert-auth",
        )


def _not_obeyed(site: Site, endpoints: Sequence[str]) -> str:
    """Return why a member does not obey this host's certificate as root's; empty if all do."""
    questions = {url: call(site.settings, "-w json user list", endpoint=url) for url in endpoints}
    problem = ""
    for _ in range(PROOF_TRIES):
        answers = ask(site, questions)
        bad = {url: answer for url, answer in answers.items() if not answer.ok}
        if not bad:
            return ""
        url, answer = next(iter(bad.items()))
        problem = f"{url} does not obey the hosts' client certificates: {refusal(answer.stderr)}"
        time.sleep(0.5)
    return problem


def _refuse_lockout(settings: HostSettings, reasons: Sequence[str]) -> None:
    if reasons:
        raise ProtectionError(
            f"authentication is not turned on, because etcdctl on the hosts could be locked out: {'; '.join(reasons)}",
            where=settings.name,
            remedy="run deploy, which places certificates with the name in pki.client_common_name and starts members; "
            "a host that is gone for good can be left out with --limit '!HOST'",
        )


def passwords_of(auth: AuthSettings) -> Iterator[tuple[str, str]]:
    """Return the passwords of users that are in the environment. Raise `UsageError` if etcdctl cannot read one."""
    for name, user in auth.users.items():
        password = os.environ.get(user.password_env or "", "") if user.password_env else ""
        if not password:
            continue
        REDACTOR.add(password)
        if password.split() != [password] or len(password.encode()) > LONGEST_PASSWORD:
            raise UsageError(
                f"the password of user {name} has white space in it, or more than {LONGEST_PASSWORD} bytes: etcd would "
                "take only a part of it",
                where=str(user.password_env),
                remedy="choose another",
            )
        yield name, password


def _unchecked(auth: AuthSettings, passwords: Mapping[str, str]) -> list[str]:
    return [
        f"the password of user {name} was not looked at: {user.password_env} is not set"
        for name, user in auth.users.items()
        if user.password_env and name not in passwords
    ]


def _summary(state: AuthState, plan: AuthPlan, *, readable: bool) -> str:
    if not readable:
        return "to be made when the cluster is up"
    on = (state.enabled or plan.turn_on) and not plan.turn_off
    roles, users = counted(len(state.roles), "role"), counted(len(state.users), "user")
    return f"authentication {'on' if on else 'off'}, {roles}, {users}"
