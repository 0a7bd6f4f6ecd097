"""Copies off this machine: encrypted, read back, thinned out, and never more trusted than what is there."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from etcdfleet.backup import offhost
from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.store import Snapshot, listed
from etcdfleet.errors import UsageError, VerificationError
from tests.s3 import free_port, gcs_server, s3_server
from tests.unit.support.certs_ca import DAY, ca, leaf, pem_of
from tests.unit.support.snapshots import WHOLE, put

NIGHT = datetime(2026, 11, 26, 2, tzinfo=UTC)
MANY = Counts(9, 0, 0)
IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())


@pytest.fixture(params=[(), (RECIPIENT,)], ids=["in clear", "encrypted"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OffHost:
    """A store on a mounted disk, so to speak."""
    return OffHost(f"file://{tmp_path}/away", request.param)


def away(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "away").rglob("*") if path.is_file())


def nights(folder: Path, count: int) -> list[Snapshot]:
    """That many nights of backups on this machine, the newest first."""
    return [put(folder / "here", NIGHT - timedelta(days=ago)) for ago in range(count)]


def copied(store: OffHost, folder: Path, count: int) -> list[Snapshot]:
    made = nights(folder, count)
    for one in made:
        store.send(one)
    return made


def copy_of(store: OffHost, folder: Path, one: Snapshot) -> Path:
    return folder / "away" / "home" / f"{one.path.name}{'.age' if store.recipients else ''}"


def test_a_copy_gives_back_the_snapshot(store: OffHost, tmp_path: Path) -> None:
    (one,) = copied(store, tmp_path, 1)
    content = copy_of(store, tmp_path, one).read_bytes()
    assert (content == WHOLE) is (not store.recipients)
    assert (pyrage.decrypt(content, [IDENTITY]) if store.recipients else content) == WHOLE
    (there,) = store.listed("home").good
    assert there.note.stored is not None
    assert there.note.stored.encrypted is bool(store.recipients)
    assert replace(there.note, stored=None, verified=None) == replace(one.note, verified=None)
    assert [path.name for path in (tmp_path / "here/home").iterdir() if path.name.startswith(".")] == []


def test_another_key_decrypts_nothing(tmp_path: Path) -> None:
    store = OffHost(f"file://{tmp_path}/away", (RECIPIENT,))
    (one,) = copied(store, tmp_path, 1)
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(copy_of(store, tmp_path, one).read_bytes(), [pyrage.x25519.Identity.generate()])


def test_what_is_wanted_and_not_there_is_missing(store: OffHost, tmp_path: Path) -> None:
    made = nights(tmp_path, 4)
    put(tmp_path / "here", NIGHT + timedelta(hours=5), purpose="change")
    put(tmp_path / "here", NIGHT + timedelta(hours=6), damaged="its hash does not fit")
    store.send(made[1])
    here, _ = listed(tmp_path / "here", "home")
    assert [one.path for one in store.missing(here, store.listed("home"), MANY)] == [
        one.path for one in (made[3], made[2], made[0])
    ], "the oldest first, so that a run that is ended leaves no gap"
    assert [one.path for one in store.missing(here, store.listed("home"), Counts(2, 0, 0))] == [made[0].path]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "flipped":
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "truncated":
            path.write_bytes(content[:-100])
        case "no note":
            (path.parent / f"{path.name.partition('.')[0]}.json").unlink()
        case "note of something else":
            note = path.parent / f"{path.name.partition('.')[0]}.json"
            note.write_text(note.read_text().replace('"name": "home-', '"name": "edge-'))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("flipped", "not what was put there: its hash is another one"),
        ("truncated", "and its note says"),
        ("no note", "it has no note"),
        ("note of something else", "its note is about something else"),
    ],
)
def test_a_bad_copy_is_found_without_the_identity_and_put_there_again(
    store: OffHost, tmp_path: Path, how: str, why: str
) -> None:
    made = copied(store, tmp_path, 3)
    damage(copy_of(store, tmp_path, made[0]), how)
    read = store.verify("home")
    assert [one.path.name for one in read.good] == [copy_of(store, tmp_path, one).name for one in made[1:]]
    (bad,) = read.bad
    assert why in str(bad)

    # It pushes out nothing, and is not removed.
    thinned = store.thin(store.listed("home"), Counts(2, 0, 0))
    assert thinned.removed == ()
    here, _ = listed(tmp_path / "here", "home")
    (lacking,) = store.missing(here, store.listed("home"), MANY)
    assert lacking.path == made[0].path
    store.send(lacking)
    assert (len(store.verify("home").good), store.verify("home").bad) == (3, ())


def test_old_copies_go_with_their_notes_and_nothing_else(store: OffHost, tmp_path: Path) -> None:
    made = copied(store, tmp_path, 4)
    folder = tmp_path / "away" / "home"
    for name in ("mine.db", "home-20200101T000000Z-5.db", "deeper/home-20200101T000000Z-5.db.age"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    there = store.listed("home")
    assert [bad.path.name for bad in there.bad] == ["home-20200101T000000Z-5.db"]
    before = away(tmp_path)
    would = store.thin(there, Counts(1, 0, 0), check_only=True)
    assert away(tmp_path) == before
    thinned = store.thin(there, Counts(1, 0, 0))
    assert [one.path for one in thinned.removed] == [one.path for one in would.removed]
    assert len(thinned.removed) == 3
    kept = copy_of(store, tmp_path, made[0]).name
    assert set(away(tmp_path)) == {
        kept,
        f"{made[0].path.stem}.json",
        "mine.db",
        "home-20200101T000000Z-5.db",
        "home-20200101T000000Z-5.db.age",
    }


def test_with_check_no_note_is_written(store: OffHost, tmp_path: Path) -> None:
    (one,) = copied(store, tmp_path, 1)
    damage(copy_of(store, tmp_path, one), "flipped")
    note = tmp_path / "away/home" / f"{one.path.stem}.json"
    before = note.read_text()
    assert len(store.verify("home", note=False).bad) == 1
    assert note.read_text() == before
    store.verify("home")
    assert json.loads(note.read_text())["damaged"]


def test_a_store_that_keeps_something_else_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = OffHost(f"file://{tmp_path}/away")
    monkeypatch.setattr(OffHost, "_pieces", lambda *_: iter([WHOLE[:-1], b"?"]))
    (one,) = nights(tmp_path, 1)
    with pytest.raises(VerificationError, match="not what was put there: its hash is another one"):
        store.send(one)
    assert store.listed("home").good == (), "it is not noted, so it does not count"


def test_without_the_packages_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"obstore is not installed") as caught:
        OffHost(f"file://{tmp_path}/away").listed("home")
    assert "requirements/offhost.txt" in caught.value.remedy


def test_a_key_that_is_none_is_said(tmp_path: Path) -> None:
    (one,) = nights(tmp_path, 1)
    with pytest.raises(VerificationError, match="cannot be encrypted"):
        OffHost(f"file://{tmp_path}/away", (f"age1{'q' * 58}",)).send(one)


def test_without_room_for_the_encrypted_copy_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(offhost, "encrypt", full)
    with pytest.raises(VerificationError, match="cannot be read or encrypted: No space left") as caught:
        OffHost(f"file://{tmp_path}/away", (RECIPIENT,)).send(nights(tmp_path, 1)[0])
    assert "make room on this machine" in caught.value.remedy
    assert [path.name for path in (tmp_path / "here/home").iterdir() if path.name.startswith(".")] == []


# Back to this machine


@pytest.fixture(name="keyfile")
def _keyfile(tmp_path: Path) -> Path:
    """As age-keygen writes it."""
    path = tmp_path / "key.txt"
    path.write_text(f"# created: 2026-11-26\n# public key: {RECIPIENT}\n{IDENTITY}\n")
    return path


def test_a_copy_comes_back_under_its_name(store: OffHost, tmp_path: Path, keyfile: Path) -> None:
    made = copied(store, tmp_path, 2)
    for name, which in (("", 0), (made[1].path.name, 1), (f"{made[1].path.name}.age", 1)):
        found, passed = store.fetch("home", tmp_path / "back", name=name, identity=keyfile)
        assert found.path == tmp_path / "back/home" / made[which].path.name
        assert found.path.read_bytes() == WHOLE
        assert (found.note.stored, found.note.revision, passed) == (None, 22, ())
        assert found.path.stat().st_mode & 0o777 == 0o600
    (first, second), bad = listed(tmp_path / "back", "home")
    assert ([first.path.name, second.path.name], bad) == ([one.path.name for one in made], ())
    assert [path for path in (tmp_path / "back/home").iterdir() if path.name.startswith(".")] == []


def test_a_copy_that_was_changed_there_is_passed_over_for_an_older_one(
    store: OffHost, tmp_path: Path, keyfile: Path
) -> None:
    newer, older = copied(store, tmp_path, 2)
    there = copy_of(store, tmp_path, newer)
    there.write_bytes(b"x" + there.read_bytes()[1:])
    found, (passed,) = store.fetch("home", tmp_path / "back", identity=keyfile)
    assert found.path.name == older.path.name
    assert "is not what was put there" in passed.why
    with pytest.raises(VerificationError, match="is not what was put there"):
        store.fetch("home", tmp_path / "back", name=newer.path.name, identity=keyfile)
    assert len(list((tmp_path / "back/home").iterdir())) == 2
    with pytest.raises(VerificationError, match="there is no good copy named other there"):
        store.fetch("home", tmp_path / "back", name="other", identity=keyfile)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "no secret key was named"),
        ("", "no file with secret keys"),
        ("AGE-SECRET-KEY-1", "no file with secret keys"),
        (str(pyrage.x25519.Identity.generate()), "cannot be decrypted with this key"),
    ],
    ids=["none", "empty", "cut off", "another"],
)
def test_without_the_secret_key_nothing_comes_back(tmp_path: Path, content: str | None, what: str) -> None:
    store = OffHost(f"file://{tmp_path}/away", (RECIPIENT,))
    copied(store, tmp_path, 1)
    key = tmp_path / "key.txt"
    key.write_text(content or "")
    with pytest.raises(UsageError, match=what) as caught:
        store.fetch("home", tmp_path / "back", identity=None if content is None else key)
    assert caught.value.remedy
    assert list((tmp_path / "back").rglob("*.db")) == []


# Real servers


@pytest.fixture(params=[("s3", s3_server), ("gs", gcs_server)], ids=["s3", "gs"])
def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """The URL of a bucket and the folder behind it, in an environment that leads there."""
    scheme, server = request.param
    root = tmp_path / "root"
    (root / "bucket").mkdir(parents=True)
    with server(root) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f"{scheme}://bucket", root / "bucket"


def test_with_a_real_server(bucket: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = bucket
    store = OffHost(f"{url}/etcd/backups", (RECIPIENT,))
    assert store.listed("home").good == ()
    made = copied(store, tmp_path, 3)
    place = folder / "etcd/backups/home"
    copy = place / f"{made[0].path.name}.age"
    assert pyrage.decrypt(copy.read_bytes(), [IDENTITY]) == WHOLE
    assert len(store.verify("home").good) == 3
    damage(copy, "flipped")
    time.sleep(1.1)  # the server knows files by their time
    assert [one.path.name for one in store.verify("home").bad] == [copy.name]
    here, _ = listed(tmp_path / "here", "home")
    for one in store.missing(here, store.listed("home"), MANY):
        store.send(one)
    assert len(store.thin(store.listed("home"), Counts(1, 0, 0)).removed) == 2
    assert sorted(path.name for path in place.iterdir()) == [f"{made[0].path.stem}.{end}" for end in ("db.age", "json")]


def test_a_copy_of_several_parts(bucket: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = bucket
    (one,) = nights(tmp_path, 1)
    content = os.urandom(12 << 20)
    one.path.write_bytes(content)
    OffHost(url).send(one)
    assert (folder / "home" / one.path.name).read_bytes() == content


@pytest.mark.parametrize("bucket", [("s3", s3_server)], indirect=True, ids=["s3"])
@pytest.mark.parametrize(
    ("url", "environment", "what", "remedy"),
    [
        (
            "s3://bucket",
            {"AWS_SECRET_ACCESS_KEY": "another"},
            "it answers 403 Forbidden (SignatureDoesNotMatch: ",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ("s3://other", {}, "it answers 404 Not Found (NoSuchBucket: ", "make the bucket"),
        ("s3://bucket", {"AWS_ALLOW_HTTP": ""}, "it is without TLS", "use https, or set AWS_ALLOW_HTTP=true"),
        ("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, "No such file", "correct GOOGLE_"),
        ("az://bucket", {}, "the environment has no keys for it", "set AZURE_"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_why_a_store_cannot_be_used(
    url: str, environment: Mapping[str, str], what: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VerificationError) as caught:
        OffHost(url).listed("home")
    assert what in caught.value.what
    assert caught.value.remedy.startswith(remedy)


def test_a_private_authority_is_named_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy for a store whose CA this machine does not trust is taken."""
    (tmp_path / "root" / "bucket").mkdir(parents=True)
    now = datetime.now(UTC)
    authority = ca("Store CA", start=now - DAY, end=now + DAY)
    pair = leaf(authority, ips=("127.0.0.1",), start=now - DAY, end=now + DAY)
    files = [tmp_path / "ca.pem", tmp_path / "store.pem", tmp_path / "store.key"]
    for file, text in zip(files, [authority.pem, pair.pem, pem_of(pair.key)], strict=True):
        file.write_text(text)
    with s3_server(tmp_path / "root", (files[1], files[2])) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(VerificationError, match="of a CA that this machine does not trust") as caught:
            OffHost("s3://bucket").listed("home")
        assert "SSL_CERT_FILE" in caught.value.remedy
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        assert OffHost("s3://bucket").listed("home").good == ()


def test_a_store_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offhost, "_RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    monkeypatch.setattr(offhost, "_SILENT", timedelta(seconds=0.5))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        environment = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ALLOW_HTTP": "true"}
        environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(VerificationError, match="it does not answer in time"):
            OffHost("s3://bucket").listed("home")


def test_a_store_that_nobody_answers_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offhost, "_RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises(VerificationError, match="the backup cannot be put there") as caught:
        OffHost("s3://bucket/etcd").send(nights(tmp_path, 1)[0])
    assert caught.value.where == "s3://bucket/etcd"
    assert "refuses connections" in caught.value.what
    assert "AWS_ENDPOINT_URL" in caught.value.remedy
