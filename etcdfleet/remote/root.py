"""How a login becomes root: as root itself, by sudo, or by doas; and what their refusals mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etcdfleet.errors import RemoteError

SUDO_PASSWORD_ENV = "ETCDFLEET_SUDO_PASSWORD"  # noqa: S105  the name of a variable, not a password
AS = "etcdfleet-root-by="
_NO_ROOT = "etcdfleet-no-root-for="
# Finds out how to become root and does it, in the same round trip as the first command. One line: the login shell may
# be any. What sudo and doas say is kept, in English.
FIRST_SHELL = (
    'sh -c \'[ "$(id -u)" = 0 ] && exec sh -s; export LC_ALL=C; s= d=; '
    "if command -v sudo >/dev/null; then s=$(sudo -n true 2>&1) && exec sudo -n sh -s; s=${s:-sudo: refused}; fi; "
    "if command -v doas >/dev/null; then d=$(doas -n true 2>&1) && exec doas -n sh -s; d=${d:-doas: refused}; fi; "
    f'printf "\\n{_NO_ROOT}%s\\n%s\\n{_NO_ROOT}\\n%s\\n" "$(id -un)" "$s" "$d" >&2; exit 97\''
)
# -k makes sudo ask even if it remembers an earlier answer: otherwise the password line would reach the shell.
PASSWORD_SHELL = "env LC_ALL=C sudo -k -S -p '' sh -s"  # noqa: S105
PASSWORD_CHECK = "env LC_ALL=C sudo -k -S -p '' true"  # noqa: S105
"""For nothing but the password on standard input: with a script behind a wrong one, sudo would take the next lines for
two more tries, and three can lock an account."""
_MARKER = f"printf '\\n%s\\n' \"{AS}${{SUDO_USER:+sudo -n }}${{DOAS_USER:+doas -n }}sh -s\" >&2\n".encode()
"""sudo sets SUDO_USER and doas DOAS_USER, which tells what the first shell took."""


@dataclass(frozen=True)
class Denied:
    """Whose login it is, and what sudo and doas said; empty where the program is not there."""

    user: str
    sudo: str
    doas: str


def denied(stderr: str) -> Denied | None:
    """Return what the first shell reports where it could not become root; None when it did not get that far. Pure."""
    _, mark, rest = stderr.partition(f"\n{_NO_ROOT}")
    if not mark:
        return None
    user, _, words = rest.partition("\n")
    sudo, _, doas = words.partition(f"\n{_NO_ROOT}\n")
    return Denied(user.strip(), _one_line(sudo), _one_line(doas))


def _one_line(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())


# What sudo says (sudo 1.8, 1.9 and sudo-rs), what it means, and what helps; {user} is the login.
_SUDO = (
    (
        r"must have a tty",
        "sudo wants a terminal, and there is none in an automatic login",
        "allow it without one: visudo on the host, and add: Defaults:{user} !requiretty",
    ),
    (
        r"not in the sudoers|not allowed to (run|execute)|may not run sudo|I'm sorry \S+\. I'm afraid",
        "{user} may not use sudo",
        "allow it, as root on the host: usermod -aG sudo {user} (on Alpine: addgroup {user} wheel), or a rule in "
        "/etc/sudoers.d",
    ),
    (
        r"expired|change required|account validation failure|account is locked",
        "the account or the password of {user} has ended",
        "set a new password on the host (as root: passwd {user}; chage -l {user} shows until when it is good)",
    ),
)
_SUDO_WANTS_PASSWORD = r"password is required|authentication is required|terminal is required|askpass"  # noqa: S105
_DOAS = (
    (
        r"Authori[sz]ation required|Authentication required|a tty is required",
        "doas asks {user} for a password, and does so on a terminal only",
        "allow it without one: permit nopass {user} as root in /etc/doas.conf (or /etc/doas.d/*.conf); or log in as "
        "root; or install sudo, whose password can come from " + SUDO_PASSWORD_ENV,
    ),
    (
        r"Operation not permitted|not enabled|Authori[sz]ation failed",
        "{user} may not use doas",
        "allow it: permit nopass {user} as root in /etc/doas.conf (or /etc/doas.d/*.conf); or log in as root",
    ),
)
_LOGIN = (
    (
        r"password has expired|[Pp]assword change required|account has expired",
        "set a new password: log in by hand once, or as root on the host: passwd USER",
    ),
    (r"not available", "the user's login shell refuses logins (nologin): give it one, or log in as another user"),
)


def wants_password(denial: Denied) -> bool:
    """Return whether sudo would be content with a password, by what it says; other refusals stay refusals with one."""
    return bool(denial.sudo) and not any(re.search(pattern, denial.sudo) for pattern, _, _ in _SUDO)


def no_root(denial: Denied, where: str, *, password_given: bool) -> RemoteError:
    """Return why root cannot be had, in sudo's or doas' own words. Pure. ``password_given``: sudo has refused one."""
    if not denial.sudo and not denial.doas:
        return RemoteError(
            f"cannot become root: {denial.user or 'this user'} is not root, and neither sudo nor doas is there",
            where=where,
            remedy="log in as root, or install sudo (or doas with nopass) and allow this user to use it",
        )
    user = denial.user or "USER"
    also = f"; {denial.doas}" if denial.sudo and denial.doas else ""
    for pattern, meaning, remedy in _SUDO if denial.sudo else _DOAS:
        if re.search(pattern, denial.sudo or denial.doas):
            return RemoteError(
                f"cannot become root: {meaning.format(user=user)} (it says: {denial.sudo or denial.doas}{also})",
                where=where,
                remedy=remedy.format(user=user),
            )
    if not denial.sudo:
        return RemoteError(
            f"cannot become root: doas says: {denial.doas}", where=where, remedy=_DOAS[0][2].format(user=user)
        )
    if password_given:
        return RemoteError(
            f"sudo did not accept the password (it says: {denial.sudo}{also})",
            where=where,
            remedy=f"check {SUDO_PASSWORD_ENV}, and that {user} may use sudo (sudo -l on the host)",
        )
    if re.search(_SUDO_WANTS_PASSWORD, denial.sudo):
        return RemoteError(
            f"sudo asks for a password (it says: {denial.sudo}{also})",
            where=where,
            remedy=f"set {SUDO_PASSWORD_ENV} in the environment (read -rs {SUDO_PASSWORD_ENV}; export "
            f"{SUDO_PASSWORD_ENV}), or allow {user} passwordless sudo on the host",
        )
    return RemoteError(
        f"cannot become root: sudo says: {denial.sudo}{also}",
        where=where,
        remedy=f"try on the host, as {user}: sudo -n true; it must work, or ask for a password ({SUDO_PASSWORD_ENV})",
    )


def no_shell(words: str, where: str) -> RemoteError:
    """Return the error of a login shell that ended before it looked for root: what it said, and what helps. Pure."""
    hint = next((remedy for pattern, remedy in _LOGIN if re.search(pattern, words)), "")
    return RemoteError(
        f"cannot run commands as this user: {words or 'the login shell ended at once'}",
        where=where,
        remedy=hint or "see what a login gives: ssh USER@HOST true; a login script or ForceCommand may end it",
    )


def marked(script: bytes) -> bytes:
    """Return a script for the first shell, which says first how it became root."""
    return _MARKER + script


def how(stderr: str) -> tuple[str, str] | None:
    """Return the command that gives a root shell from now on, and what else was said; None when not root. Pure."""
    before, mark, after = stderr.partition(f"\n{AS}")
    if not mark:
        return None
    shell, _, rest = after.partition("\n")
    return shell, before + rest
