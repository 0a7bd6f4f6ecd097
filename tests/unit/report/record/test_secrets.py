from __future__ import annotations

import io
import json

import pytest

from etcdfleet.report.record.secrets import HIDDEN, RedactingStream, Redactor, plain

# Put together here, so that a search of the project for key material does not find this test.
KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEpAIBAAKCAQEA75Xk\nabcdef==\n-----END RSA PRIVATE " + "KEY-----"
NEW_TOKEN = "hvs." + "CAESIJ2x_y-zAbCdEfGhIjKlMnOpQrStUvWx"
OLD_TOKEN = "s." + "Ab3dEfGhIjKlMnOpQrStUvWx"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing to hide", "nothing to hide"),
        (f"token {NEW_TOKEN}, done", f"token {HIDDEN}, done"),
        (f"X-Vault-Token={OLD_TOKEN}", f"X-Vault-Token={HIDDEN}"),
        (f"a\n{KEY}\nb", f"a\n{HIDDEN}\nb"),
        (f"cut off: {KEY[:50]}", f"cut off: {HIDDEN}"),
        (json.dumps({"private_key": KEY, "after": 1}), '{"private_key": "' + HIDDEN + '", "after": 1}'),
        ("+" + KEY.replace("\n", "\n+"), f"+{HIDDEN}"),
        ("-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",) * 2,
        ("etcd-az-1.s.example.home", "etcd-az-1.s.example.home"),
        ("class.attribute_of_some_length", "class.attribute_of_some_length"),
    ],
)
def test_patterns(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected


@pytest.mark.parametrize("secret", ["correct horse", 'a"b\\c', "pässwörd", "x/y?z&", "it's"])
def test_known_secrets_in_every_spelling(secret: str) -> None:
    redactor = Redactor(secret)
    for text in (secret, json.dumps(secret), repr(secret), f"echo {secret} | sudo -S true"):
        assert secret not in redactor.text(text)
        assert json.dumps(secret)[1:-1] not in redactor.text(text)


def test_a_very_short_password_hides_only_whole_words() -> None:
    assert Redactor("pi").text("pi@pine: pi") == f"{HIDDEN}@pine: {HIDDEN}"


def test_longer_secrets_first() -> None:
    assert Redactor("secret", "secretive").text("secretive secret") == f"{HIDDEN} {HIDDEN}"


def test_empty_secrets_are_ignored() -> None:
    redactor = Redactor("", "  ")
    redactor.add(None)
    assert redactor.text("as it was") == "as it was"


def test_trees_and_keys_of_mappings() -> None:
    found = Redactor("hush").tree({"hush": ["hush", ("x", 1, None, True)], "n": 1.5, "path": ValueError("hush")})
    assert found == {HIDDEN: [HIDDEN, ["x", 1, None, True]], "n": 1.5, "path": HIDDEN}


def test_the_environment() -> None:
    redactor = Redactor()
    redactor.add_environment(
        {"VAULT_TOKEN": "aaaa1", "BAO_SECRET_ID": "bbbb1", "ETCDFLEET_SUDO_PASSWORD": "cccc1", "HOME": "dddd1"}
    )
    assert redactor.text("aaaa1 bbbb1 cccc1 dddd1") == f"{HIDDEN} {HIDDEN} {HIDDEN} dddd1"


def test_the_repr_tells_nothing() -> None:
    assert "hush" not in repr(Redactor("hush"))


def test_stream_hides_and_survives_narrow_encodings() -> None:
    raw = io.BytesIO()
    below = io.TextIOWrapper(raw, encoding="ascii")
    stream = RedactingStream(below, Redactor("hush"))
    assert stream.write("hush ✔") == 6
    below.flush()
    assert raw.getvalue() == f"{HIDDEN} ?".encode()


def test_terminal_escapes_are_dropped() -> None:
    assert plain("\x1b[31mred\x1b[0m\r\n\tok\x07") == "red\n\tok"


def test_keys_of_stores_are_hidden() -> None:
    redactor = Redactor()
    keys = {"AWS_SECRET_ACCESS_KEY": "aaaa1", "AZURE_STORAGE_ACCOUNT_KEY": "bbbb1"}
    redactor.add_environment({**keys, "AWS_REGION": "eu-1"})
    assert redactor.text("aaaa1 bbbb1 eu-1") == f"{HIDDEN} {HIDDEN} eu-1"
