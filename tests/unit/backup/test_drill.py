"""What a restored member says is compared with the note, and what cannot be read is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from etcdfleet.backup.drill import Said, compared, differences, drill_script, read_said, seconds_for
from etcdfleet.backup.note import Note
from etcdfleet.errors import VerificationError
from tests.unit.support.snapshots import NOTE

HASHED = replace(NOTE, key_hash=77)
SAID = Said("3.5.1", 22, 412, (), 9, 77)
FIRST = replace(NOTE, keys=None, revision=20)


@pytest.mark.parametrize(
    ("note", "said", "wrong"),
    [
        (HASHED, SAID, ()),
        (NOTE, replace(SAID, key_hash=5), ()),
        (HASHED, replace(SAID, key_hash=5), ("hash of its keys 5, and 77 noted",)),
        (HASHED, replace(SAID, key_hash=None), ("hash of its keys none, and 77 noted",)),
        (HASHED, replace(SAID, keys=0), ("keys 0, and 412 noted",)),
        (HASHED, replace(SAID, revision=21, keys=9), ("revision 21, and 22 noted", "keys 9, and 412 noted")),
        (HASHED, replace(SAID, alarms=("NOSPACE",)), ("alarms NOSPACE, and none noted",)),
        (replace(HASHED, alarms=("NOSPACE",)), SAID, ("alarms none, and NOSPACE noted",)),
        (FIRST, SAID, ()),
        (FIRST, replace(SAID, revision=19), ("revision 19, and at least 20 noted",)),
    ],
)
def test_what_differs(note: Note, said: Said, wrong: tuple[str, ...]) -> None:
    assert differences(note, said) == wrong


def test_what_was_compared_is_told() -> None:
    assert compared(HASHED, SAID) == "revision 22, 412 keys, hash 77 as noted"
    assert compared(NOTE, SAID) == "revision 22, 412 keys as noted"
    assert compared(FIRST, SAID) == "revision 22, 412 keys"


def answers(**changed: str) -> str:
    status = [{"Status": {"header": {"revision": 22}, "version": "3.5.1", "errors": ["memberID:5 alarm:NOSPACE "]}}]
    usual = {
        "count": json.dumps({"count": 412}),
        "status": json.dumps(status),
        "hashes": json.dumps([{"HashKV": {"hash": 77, "compact_revision": 9}}]),
    }
    return "".join(f"{name} {text}\n" for name, text in (usual | changed).items())


def test_what_it_said_is_read() -> None:
    assert read_said(answers()) == replace(SAID, alarms=("NOSPACE",))
    assert read_said(answers(count="{}")).keys == 0, "etcdctl leaves out what is 0"
    assert read_said(answers(hashes="")).key_hash is None


@pytest.mark.parametrize(
    "text", ["", answers(status="[]"), answers(status="null"), answers(count=""), answers(count="[]")]
)
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(VerificationError, match=r"did not say|gave no answer"):
        read_said(text)


def test_each_drill_has_a_key_of_its_own_and_time_and_room_by_size() -> None:
    def made(note: Note) -> str:
        return drill_script(note, "/var/tmp", user="etcd", etcd="etcd", restorer="etcdutl", architecture="")

    first, second = made(NOTE), made(NOTE)
    for name in ("key", "token", "certificate"):
        values = {text.split(f"\n{name}='" if name != "token" else "\ntoken=")[1][:900] for text in (first, second)}
        assert len(values) == 2
    pem = first.split("certificate='")[1].split("'")[0]
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "root"
    large = replace(NOTE, size=100 << 20)
    assert "needed_kib=364544" in made(large)
    assert seconds_for(large) == 720
