"""The calls of etcdctl for roles, users and authentication: in few round trips, bounded, passwords on standard input.

Everything goes through `call`, at the host's own member and as the host's own client certificate by default.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.auth import AuthState, Operation, WantedAuth
from etcdfleet.etcd.auth_answers import NOBODY, read_enabled, read_names, read_password, read_role, read_user, refusal
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import HostSettings
from tasks.observe import Site

AT_ONCE = 8
"""So many questions are asked side by side: each is a process on a small host."""
WAY_OUT = (
    "`python runbooks/client_cert.py root --yes` makes a certificate of etcd's own user root, which etcd obeys as long "
    "as members run with client-cert-auth (deploy sees to it); `etcdctl auth disable` with it turns authentication off"
)


def call(settings: HostSettings, arguments: str, *, endpoint: str = "", user: str = "", password: str = "") -> str:
    """Return shell: etcdctl as the host's own certificate, at its own member by default.

    With a password it goes into the environment of etcdctl, which only root can see. etcdctl's own time-outs do not
    hold for what is asked here: without a member that answers it would wait for ever.
    """
    words = etcdctl(settings, arguments, [endpoint or local_endpoint(settings)], seconds=timeouts.ETCDCTL_PATIENT)
    login = f"ETCDCTL_USER={shlex.quote(user)} ETCDCTL_PASSWORD={shlex.quote(password)} " if user else ""
    return f"{login}timeout {timeouts.ETCDCTL_PATIENT} env {words}"


def read_state(site: Site, wanted: WantedAuth, passwords: Mapping[str, str]) -> AuthState:
    """Return roles, users and whether authentication is on. Raise `VerificationError` if etcd does not say."""
    settings = site.settings
    enabled = call(settings, "-w json user list", user=NOBODY, password="x")  # noqa: S106  any will do
    lists = {kind: call(settings, f"-w json {kind} list") for kind in ("role", "user")}
    first = ask(site, {"enabled": enabled, **lists})
    roles = read_names("roles", *_parts(_obeyed(settings, first["role"])))
    users = read_names("users", *_parts(_obeyed(settings, first["user"])))
    is_on = read_enabled(first["enabled"].rc, first["enabled"].stderr)
    tried = [name for name in users if is_on and name in wanted.passwords and name in passwords]
    questions = {f"role {name}": call(settings, f"-w json role get -- {shlex.quote(name)}") for name in roles}
    questions |= {f"user {name}": call(settings, f"-w json user get -- {shlex.quote(name)}") for name in users}
    questions |= {
        f"password {name}": call(settings, "-w json user list", user=name, password=passwords[name]) for name in tried
    }
    answers = ask(site, questions)
    return AuthState(
        is_on,
        {name: read_role(*_parts(answers[f"role {name}"])) for name in roles},
        {name: read_user(*_parts(answers[f"user {name}"])) for name in users},
        {name: read_password(answers[f"password {name}"].rc, answers[f"password {name}"].stderr) for name in tried},
    )


def read_roles_of_users(site: Site) -> Mapping[str, frozenset[str]]:
    """Return the users there are and their roles. Raise `VerificationError` when etcd does not say."""
    answer = ask(site, {"users": call(site.settings, "-w json user list")})["users"]
    names = read_names("users", *_parts(answer))
    answers = ask(site, {name: call(site.settings, f"-w json user get -- {shlex.quote(name)}") for name in names})
    return {name: read_user(*_parts(answer)) for name, answer in answers.items()}


def ask(site: Site, questions: Mapping[str, str]) -> dict[str, CommandResult]:
    """Return the answers to questions, by their names; a few at a time, side by side."""
    answers: dict[str, CommandResult] = {}
    names = list(questions)
    for at in range(0, len(names), AT_ONCE):
        some = {name: questions[name] for name in names[at : at + AT_ONCE]}
        answers |= site.remote.batch(some, parallel=True, timeout=3 * timeouts.ETCDCTL_PATIENT)
    return answers


def run_operations(site: Site, operations: Sequence[Operation], passwords: Mapping[str, str] | None = None) -> None:
    """Run operations one after the other in one round trip; the first one that fails ends it."""
    if not operations:
        return
    lines = []
    for one in operations:
        # printf is built into the shell: the password is in no process's arguments.
        feed = f"printf '%s\\n' {shlex.quote((passwords or {})[one.password_of])} | " if one.password_of else ""
        stdin = "" if feed else " </dev/null"
        lines.append(f"{feed}{call(site.settings, one.arguments)} >/dev/null{stdin} || exit 1\necho 'done'")
    answer = site.remote.run("\n".join(lines), timeout=10 + timeouts.ETCDCTL_PATIENT * len(operations))
    if not answer.ok:
        failed = operations[min(answer.stdout.count("done"), len(operations) - 1)]
        raise VerificationError(
            f"etcd did not take a change ({failed}): {refusal(answer.stderr)}",
            where=site.settings.name,
            remedy="earlier changes stay, and the next run makes the rest; see etcd's log on this host",
        )


def _obeyed(settings: HostSettings, answer: CommandResult) -> CommandResult:
    """Return the answer. Raise `VerificationError` for a refusal of our own certificate."""
    reason = refusal(answer.stderr) if not answer.ok else ""
    if "permission denied" in reason or "user name not found" in reason or "user name is empty" in reason:
        raise VerificationError(
            f"etcd does not obey this host's own client certificate: {reason}",
            where=settings.name,
            remedy=f"authentication is on, and the name in it is no user with role root; {WAY_OUT}",
        )
    return answer


def _parts(answer: CommandResult) -> tuple[int, str, str]:
    return answer.rc, answer.stdout, answer.stderr
