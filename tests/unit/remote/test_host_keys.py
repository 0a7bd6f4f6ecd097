"""known_hosts, judged line by line."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from etcdfleet.remote.host_keys import (
    Verdict,
    is_named,
    judge,
    names_of,
    notes_of,
    parse_known_hosts,
    preferred_kinds,
    read_known_hosts,
)

KIND = "ssh-ed25519"


def key(byte: int, kind: str = KIND) -> bytes:
    """A public key as it is sent; only its form matters here."""
    head = len(kind).to_bytes(4, "big") + kind.encode()
    return head + (32).to_bytes(4, "big") + bytes([byte]) * 32


def line(names: str, byte: int, kind: str = KIND, marker: str = "") -> str:
    return f"{marker} {names} {kind} {base64.b64encode(key(byte, kind)).decode()}".strip() + "\n"


@pytest.mark.parametrize(
    ("content", "names", "verdict", "why"),
    [
        (line("pi", 1), ("pi",), Verdict.KNOWN, "kh:1"),
        (line("PI", 1), ("pi",), Verdict.KNOWN, "kh:1"),
        (line("a,pi", 1), ("pi",), Verdict.KNOWN, "kh:1"),
        (line("p*", 1), ("pi",), Verdict.KNOWN, "kh:1"),
        (line("p*,!pi", 1), ("pi",), Verdict.UNKNOWN, ""),
        (line("pi", 2) + line("pi", 1), ("pi",), Verdict.KNOWN, "kh:2"),
        (line("[pi]:2222", 1), names_of("pi", 2222), Verdict.KNOWN, "kh:1"),
        (line("pi", 1), names_of("pi", 2222), Verdict.KNOWN, "kh:1"),
        (line("pi", 2), names_of("pi", 2222), Verdict.UNKNOWN, ""),
        (line("pi", 1), names_of("192.0.2.1", 2222, "pi"), Verdict.KNOWN, "kh:1"),
        (line("pi", 2), ("pi",), Verdict.CHANGED, "kh:1 has another ssh-ed25519 key"),
        (line("pi", 2, "ssh-rsa"), ("pi",), Verdict.UNKNOWN, "another kind for it: ssh-rsa"),
        (line("pi", 1) + line("*", 1, marker="@revoked"), ("pi",), Verdict.REVOKED, "kh:2"),
        (line("pi", 1) + line("*", 2, marker="@revoked"), ("pi",), Verdict.KNOWN, "kh:1"),
        (line("*", 2, marker="@cert-authority") + line("pi", 1), ("pi",), Verdict.KNOWN, "kh:2"),
        (line("*", 1, marker="@cert-authority"), ("pi",), Verdict.UNKNOWN, "no certificate of the authority in kh:1"),
        ("", ("pi",), Verdict.UNKNOWN, ""),
    ],
)
def test_a_key_is_judged_by_the_lines_for_its_host(
    content: str, names: tuple[str, ...], verdict: Verdict, why: str
) -> None:
    judgement = judge(parse_known_hosts(content.encode(), "kh"), names, KIND, key(1))
    assert judgement.verdict is verdict
    assert why in judgement.why


@pytest.mark.parametrize(
    ("content", "damaged"),
    [
        (b"# Schl\xfcssel der Pis\n", []),
        (b"\xef\xbb\xbf# a comment\r\n\r\n", []),
        (b"pi 1024 35 1234567890 me\n", []),
        (b"pi ssh-ed25519\n", ["kh:1"]),
        (b"pi ssh-ed25519 AAAA\n", ["kh:1"]),
        (b"pi ssh-ed25519 not*base64\n", ["kh:1"]),
        (b"p\xfc ssh-ed25519 AAAA\n", ["kh:1"]),
        (b"@marker pi ssh-ed25519 AAAA\n", ["kh:1"]),
        (b"@revoked\n", ["kh:1"]),
        (line("pi", 1, "ssh-rsa").replace("ssh-rsa", KIND).encode(), ["kh:1"]),
    ],
)
def test_a_line_that_cannot_be_read_takes_nothing_from_the_others(content: bytes, damaged: list[str]) -> None:
    whole = content + line("pi", 1).encode()
    known_hosts = parse_known_hosts(whole, "kh")
    assert [each.where for each in known_hosts.damaged] == damaged
    assert judge(known_hosts, ("pi",), KIND, key(1)).verdict is Verdict.KNOWN


@pytest.mark.parametrize(
    ("damaged", "note"),
    [(0, ""), (1, "kh:1 (a name, a kind"), (3, "kh:3 (a name"), (5, " and 2 more; correct or remove them")],
)
def test_lines_that_cannot_be_read_are_named_once(damaged: int, note: str) -> None:
    notes = notes_of(parse_known_hosts(b"half ssh-ed25519\n" * damaged, "kh"))
    assert len(notes) == bool(damaged)
    assert note in "".join(notes)


def test_hashed_names() -> None:
    # The form of ssh-keygen -H: HMAC-SHA1 of the name, with the salt as its key.
    import hashlib
    import hmac

    salt = b"s" * 20
    digest = hmac.digest(salt, b"pi", hashlib.sha1)
    pattern = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    assert is_named((pattern,), "pi")
    assert not is_named((pattern,), "pj")
    assert not is_named(("|1|damaged",), "pi")


def test_files_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(line("pi", 1))
    assert [each.where for each in read_known_hosts([tmp_path / "a", tmp_path / "b"]).keys] == [f"{tmp_path}/b:1"]


OFFERED = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"]
CERTIFIED = "-cert-v01@openssh.com"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", OFFERED),
        (line("pi", 1, "ssh-rsa"), ["rsa-sha2-512", "ssh-ed25519", "ecdsa-sha2-nistp256"]),
        (line("pi", 1, marker="@cert-authority"), [*(kind + CERTIFIED for kind in OFFERED), *OFFERED]),
        (line("pi", 1, "sk-ssh-ed25519@openssh.com"), OFFERED),
    ],
)
def test_kinds_that_known_hosts_can_judge_come_first(content: str, expected: list[str]) -> None:
    lines = parse_known_hosts(content.encode(), "kh").of("pi")
    assert preferred_kinds(lines, OFFERED, [*OFFERED, *(kind + CERTIFIED for kind in OFFERED)]) == expected


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority ``ca``, another one, and a host's key."""
    folder = tmp_path_factory.mktemp("authority")
    for name, kind in (("ca", "ed25519"), ("other", "ecdsa"), ("host", "ed25519"), ("rsa", "rsa")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
    return folder


@pytest.mark.parametrize(
    ("signed", "template", "verdict", "why"),
    [
        (["-h", "-n", "pi"], "@cert-authority * {ca}", Verdict.KNOWN, "kh:1"),
        (["-h", "-n", "p*"], "@cert-authority * {ca}", Verdict.KNOWN, "kh:1"),
        (["-h"], "@cert-authority * {ca}", Verdict.KNOWN, "kh:1"),
        (["-h", "-n", "pj"], "@cert-authority * {ca}", Verdict.NOT_CERTIFIED, "it is for pj, and not for pi"),
        (["-n", "pi"], "@cert-authority * {ca}", Verdict.NOT_CERTIFIED, "a user's certificate"),
        (["-h", "-V", "20200101:20200201"], "@cert-authority * {ca}", Verdict.NOT_CERTIFIED, "not valid now"),
        (["-h", "-V", "20990101:20990201"], "@cert-authority * {ca}", Verdict.NOT_CERTIFIED, "not valid now"),
        (["-h"], "@cert-authority * {other}", Verdict.NOT_CERTIFIED, "none of the authorities"),
        (["-h"], "@cert-authority pj {ca}", Verdict.NOT_CERTIFIED, "none of the authorities"),
        (["-h"], "pi {ca}", Verdict.NOT_CERTIFIED, "none of the authorities"),
        (["-h"], "pi {host}", Verdict.KNOWN, "known itself"),
        (["-h"], "@cert-authority * {ca}\n@revoked * {ca}", Verdict.REVOKED, "kh:2"),
        (["-h"], "@cert-authority * {ca}\n@revoked * {host}", Verdict.REVOKED, "kh:2"),
    ],
)
@pytest.mark.parametrize("name", ["host", "rsa"])
def test_certificates_of_hosts(
    authority: Path, name: str, signed: list[str], template: str, verdict: Verdict, why: str
) -> None:
    certificate = authority / f"{name}-cert.pub"
    certificate.unlink(missing_ok=True)
    argv: list[str | Path] = [
        "ssh-keygen",
        "-q",
        "-s",
        authority / "ca",
        "-I",
        "id",
        *signed,
        authority / f"{name}.pub",
    ]
    subprocess.run(argv, check=True, capture_output=True)
    kind, text, *_ = certificate.read_text().split()
    public = {each: (authority / f"{each}.pub").read_text().strip() for each in ("ca", "other")}
    content = template.format(**public, host=(authority / f"{name}.pub").read_text().strip())
    judgement = judge(parse_known_hosts(content.encode(), "kh"), ("pi",), kind, base64.b64decode(text))
    assert (judgement.verdict, why in judgement.why) == (verdict, True), judgement


def test_a_certificate_that_was_changed_is_refused(authority: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-s", authority / "ca", "-I", "id", "-h", authority / "host.pub"], check=True)
    kind, text, *_ = (authority / "host-cert.pub").read_text().split()
    blob = bytearray(base64.b64decode(text))
    blob[-1] ^= 1
    known_hosts = parse_known_hosts(b"@cert-authority * " + (authority / "ca.pub").read_bytes(), "kh")
    assert judge(known_hosts, ("pi",), kind, bytes(blob)).verdict is Verdict.NOT_CERTIFIED
