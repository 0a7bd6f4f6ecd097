"""What sudo and doas say when they refuse, and what is made of it."""

from __future__ import annotations

import pytest

from etcdfleet.remote.root import Denied, denied, no_root, no_shell, wants_password

EXPIRED = "sudo: Account or password is expired, reset your password and try again"


@pytest.mark.parametrize(
    ("sudo", "doas", "given", "what", "remedy"),
    [
        ("", "", False, "neither sudo nor doas is there", "log in as root"),
        ("sudo: a password is required", "", False, "sudo asks for a password", "export ETCDFLEET_SUDO_PASSWORD"),
        ("sudo: interactive authentication is required", "", False, "asks for a password", "ETCDFLEET_SUDO_PASSWORD"),
        (
            "sudo: 1 incorrect password attempt",
            "",
            True,
            "did not accept the password",
            "check ETCDFLEET_SUDO_PASSWORD",
        ),
        ("sudo: sorry, you must have a tty to run sudo", "", False, "wants a terminal", "Defaults:pi !requiretty"),
        ("sudo: sorry, you must have a tty to run sudo", "", True, "wants a terminal", "Defaults:pi !requiretty"),
        ("pi is not in the sudoers file.", "", True, "pi may not use sudo", "usermod -aG sudo pi"),
        ("Sorry, user pi is not allowed to execute '/bin/sh' as root on a.", "", True, "may not use sudo", "sudoers.d"),
        (EXPIRED, "", False, "the password of pi has ended", "passwd pi"),
        (
            "sudo: /etc/sudo.conf is world writable",
            "",
            False,
            "sudo says: sudo: /etc/sudo.conf is world",
            "sudo -n true",
        ),
        (
            "sudo: a password is required",
            "doas: Operation not permitted",
            False,
            "doas: Operation not permitted",
            "ETCDFLEET_SUDO_PASSWORD",
        ),
        (
            "",
            "doas: Authentication required",
            False,
            "on a terminal only (it says: doas: Authentication required)",
            "permit nopass pi as root",
        ),
        ("", "doas: Operation not permitted", False, "pi may not use doas", "permit nopass pi as root"),
        ("", "doas: doas is not enabled, /etc/doas.conf: No such file", False, "may not use doas", "/etc/doas.conf"),
        ("", "doas: something else", False, "doas says: doas: something else", "permit nopass pi as root"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_who_refused(
    sudo: str, doas: str, given: bool, what: str, remedy: str
) -> None:
    error = no_root(Denied("pi", sudo, doas), "a", password_given=given)
    assert what in error.what
    assert (sudo or doas) in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("sudo", "wanted"),
    [
        ("sudo: a password is required", True),
        ("sudo: something unheard of", True),
        ("sudo: sorry, you must have a tty to run sudo", False),
        (EXPIRED, False),
        ("", False),
    ],
)
def test_a_password_is_given_only_where_it_may_help(sudo: str, wanted: bool) -> None:
    assert wants_password(Denied("pi", sudo, "")) is wanted


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        (
            "motd\n\netcdfleet-no-root-for=pi\nsudo: a\nsudo: b\n\netcdfleet-no-root-for=\ndoas: c\n",
            Denied("pi", "sudo: a | sudo: b", "doas: c"),
        ),
        ("\netcdfleet-no-root-for=pi\n\n\netcdfleet-no-root-for=\n\n", Denied("pi", "", "")),
        ("This account is currently not available.\n", None),
    ],
)
def test_what_the_first_shell_reports(stderr: str, expected: Denied | None) -> None:
    assert denied(stderr) == expected


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("WARNING: Your password has expired. | Password change required but no TTY available.", "passwd USER"),
        ("This account is currently not available.", "nologin"),
        ("", "login script"),
    ],
)
def test_a_login_that_gives_no_shell(words: str, remedy: str) -> None:
    error = no_shell(words, "a")
    assert words in error.what
    assert remedy in error.remedy
