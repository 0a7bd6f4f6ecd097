"""Copies of backups in a store that is not on this machine, by its URL: encrypted where there are recipients.

Beside each copy lies its note with a field ``stored``: what the copy itself must be, encrypted or not. So a machine
that cannot decrypt anything can still read a copy again and say whether it is what was put there. What was put there
was proven before: the snapshot by its own hash and pages, the copy by being read back. ``obstore`` and ``pyrage`` are
imported when they are needed; keys come from the environment alone, as each store's own tools read them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from etcdfleet.backup.age import decrypt, encrypt, identities, package
from etcdfleet.backup.explain import explain, in_clear
from etcdfleet.backup.note import Note, Stored, Verified, read_note, time_text, write_note
from etcdfleet.backup.retention import Counts, surplus, wanted
from etcdfleet.backup.store import Bad, Snapshot, check, incoming, keep
from etcdfleet.backup.thin import Read, Thinned
from etcdfleet.errors import FleetError, VerificationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK = 1 << 20
_ENCRYPTED = ".age"
_CONNECT = timedelta(seconds=15)
_SILENT = timedelta(minutes=5)
"""A store that took the connection and says nothing for so long is given up. While it is sent a part it says nothing
either: a line must bear `_AT_ONCE` parts of 5 MiB in this time, which is 35 KiB a second."""
_AT_ONCE = 2
_WHOLE = timedelta(hours=2)
"""For one request: a large copy that is read over a slow line."""
_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=40)}


@dataclass(frozen=True)
class OffHost:
    """A store, and what copies there are encrypted to; in clear without ``recipients``."""

    url: str
    recipients: tuple[str, ...] = ()

    def send(self, snapshot: Snapshot) -> None:
        """Put a snapshot there, read it back, and note it. Raise `FleetError`."""
        try:
            stored = self._put(snapshot)
        except OSError as error:
            raise VerificationError(
                f"the backup cannot be read or encrypted: {error.strerror or error}",
                where=str(snapshot.path.parent),
                remedy="make room on this machine for an encrypted copy, which is as large as the backup",
            ) from error
        self._must_be(snapshot.note.cluster, stored)
        now = time_text(datetime.now(UTC))
        # The drill was of the copy here, and is noted there.
        self._write(replace(snapshot.note, stored=stored, verified=Verified(now, ("hash",)), drill=None))

    def _put(self, snapshot: Snapshot) -> Stored:
        with incoming(snapshot.path.parent.parent, snapshot.note.cluster) as (part, file):
            source = snapshot.path
            if self.recipients:
                file.close()
                encrypt(snapshot.path, part, self.recipients)
                source = part
            digest, size = _digest(source), source.stat().st_size
            ending = _ENCRYPTED if self.recipients else ""
            stored = Stored(f"{snapshot.path.name}{ending}", size, digest, encrypted=bool(self.recipients))
            name = f"{snapshot.note.cluster}/{stored.name}"
            with _told(self.url, "the backup cannot be put there"), source.open("rb") as content:
                _obstore().put(self._store, name, content, max_concurrency=_AT_ONCE)
            return stored

    def listed(self, cluster: str) -> Read:
        """Return the copies there are, by their notes, the newest first, and what should be one and is not."""
        with _told(self.url, "the store cannot be listed"):
            found = {
                str(one["path"]).rpartition("/")[2]: int(one["size"])
                for batch in _obstore().list(self._store, prefix=f"{cluster}/")
                for one in batch
                if str(one["path"]).count("/") == 1
            }
        entries: list[Snapshot | Bad] = []
        pattern = re.compile(rf"({re.escape(cluster)}-\d{{8}}T\d{{6}}Z-\d+)\.db({re.escape(_ENCRYPTED)})?")
        for name, size in found.items():
            if match := pattern.fullmatch(name):
                note = f"{match[1]}.json"
                entries.append(self._noted(Path(cluster) / name, size, f"{cluster}/{note}" if note in found else ""))
        good = [one for one in entries if isinstance(one, Snapshot)]
        good.sort(key=lambda one: (one.note.when, one.note.revision), reverse=True)
        return Read(tuple(good), tuple(one for one in entries if isinstance(one, Bad)))

    def _noted(self, path: Path, size: int, note_name: str) -> Snapshot | Bad:
        if not note_name:
            return Bad(path, "it has no note")
        try:
            note = read_note(self._read(note_name).decode())
        except (ValueError, VerificationError) as error:
            return Bad(path, f"its note cannot be read: {error}")
        if note.cluster != path.parent.name or note.stored is None or note.stored.name != path.name:
            return Bad(path, "its note is about something else")
        if note.stored.size != size:
            return Bad(path, f"it has {size} bytes, and its note says {note.stored.size}")
        return Snapshot(path, note)

    def verify(self, cluster: str, *, note: bool = True) -> Read:
        """Read all copies again; with ``note``, note of each how it was. Raise `FleetError`."""
        there = self.listed(cluster)
        good, bad = [], list(there.bad)
        for one in there.good:
            assert one.note.stored is not None  # noqa: S101  `listed` gives no others
            try:
                self._must_be(cluster, one.note.stored)
            except VerificationError as error:
                bad.append(Bad(one.path, error.what))
                checked = replace(one.note, damaged=error.what)
            else:
                checked = replace(one.note, verified=Verified(time_text(datetime.now(UTC)), ("hash",)), damaged="")
                good.append(replace(one, note=checked))
            if note:
                self._write(checked)
        return Read(tuple(good), tuple(bad))

    def fetch(
        self, cluster: str, folder: Path, *, name: str = "", identity: Path | None = None
    ) -> tuple[Snapshot, tuple[Bad, ...]]:
        """Bring the newest good copy, or the one of this name, into a folder of this machine, and prove it there.

        Returns it, and what was passed over for it. ``identity`` is the file with the secret key of an encrypted one.
        Raises `FleetError`.
        """
        passed = list[Bad]()
        for copy in self.offered(cluster, name):
            try:
                return self._bring(copy, folder, identity), tuple(passed)
            except VerificationError as error:
                if name:
                    raise
                passed.append(Bad(copy.path, error.what))
        found = "; ".join(f"{bad.path.name}: {bad.why}" for bad in passed)
        raise VerificationError(
            f"there is no good copy {f'named {name} ' if name else ''}there{f' ({found})' if found else ''}",
            where=f"{self.url}/{cluster}",
            remedy="python runbooks/backup.py --list says what there is",
        )

    def offered(self, cluster: str, name: str = "") -> tuple[Snapshot, ...]:
        """Return the copies that their notes call good, the newest first; with a name, that one alone."""
        good = (one for one in self.listed(cluster).good if not one.note.damaged)
        return tuple(one for one in good if not name or _stem(Path(name)) == _stem(one.path))

    def _bring(self, copy: Snapshot, folder: Path, identity: Path | None) -> Snapshot:
        note, stored = copy.note, copy.note.stored
        assert stored is not None  # noqa: S101  `listed` gives no others
        keys = identities(identity, f"{self.url}/{note.cluster}/{stored.name}") if stored.encrypted else ()
        try:
            with incoming(folder, note.cluster) as (part, file), incoming(folder, note.cluster) as (clear, _):
                self._must_be(note.cluster, stored, into=file)
                file.flush()
                if stored.encrypted:
                    decrypt(part, clear, keys)
                whole = clear if stored.encrypted else part
                checked = check(Snapshot(whole, replace(note, stored=None)))
                with whole.open("rb") as written:
                    os.fsync(written.fileno())
                return keep(whole, checked.note)
        except OSError as error:
            raise VerificationError(
                f"the copy cannot be kept: {error.strerror or error}",
                where=str(folder / note.cluster),
                remedy="make room on this machine for twice the copy, or name another folder",
            ) from error

    def missing(self, here: tuple[Snapshot, ...], there: Read, counts: Counts) -> tuple[Snapshot, ...]:
        """Return the good backups of this machine that are not there and are wanted there, the oldest first."""
        have = {_stem(one.path): one.note.when for one in there.good if not one.note.damaged}
        local = {_stem(one.path): one for one in here if one.note.purpose == "backup" and not one.note.damaged}
        wish = wanted(have | {stem: one.note.when for stem, one in local.items()}, counts)
        lacking = [local[stem] for stem in wish if stem in local and stem not in have]
        return tuple(sorted(lacking, key=lambda one: one.note.when))

    def thin(
        self, there: Read, counts: Counts, coming: Sequence[Snapshot] = (), *, check_only: bool = False
    ) -> Thinned:
        """Remove copies that are not wanted any more: by their notes, and never one of the good ones that are.

        ``coming`` are those that count as if they were there, for ``check_only``.
        """
        good = {one.path: one for one in there.good if not one.note.damaged and one.note.purpose == "backup"}
        taken = {one.path: one.note.when for one in (*good.values(), *coming)}
        removed, stuck = [], []
        for path in sorted(surplus(taken, counts) & good.keys()):
            name = f"{path.parent.name}/{path.name}"
            try:
                if not check_only:
                    with _told(self.url, "it cannot be removed"):
                        _obstore().delete(self._store, name)  # first: a note alone is nothing
                        _obstore().delete(self._store, f"{path.parent.name}/{_stem(path)}.json")
                removed.append(good[path])
            except VerificationError as error:
                stuck.append(Bad(path, error.what))
        return Thinned(tuple(removed), Read(), tuple(stuck))

    def _must_be(self, cluster: str, stored: Stored, into: BinaryIO | None = None) -> None:
        """Read a copy, into a file if there is one. Raise `VerificationError` where it is not what was put there."""
        digest, size = hashlib.sha256(), 0
        for piece in self._pieces(f"{cluster}/{stored.name}"):
            if into:
                into.write(piece)
            digest.update(piece)
            size += len(piece)
        if (size, digest.hexdigest()) != (stored.size, stored.sha256):
            what = f"it has {size} bytes of {stored.size}" if size != stored.size else "its hash is another one"
            raise VerificationError(
                f"the copy there is not what was put there: {what}",
                where=f"{self.url}/{cluster}/{stored.name}",
                remedy="look at the store, and move that copy away; the next run puts it there again",
            )

    def _pieces(self, name: str) -> Iterator[bytes]:
        with _told(self.url, "the copy cannot be read"):
            for piece in _obstore().get(self._store, name).stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

    def _read(self, name: str) -> bytes:
        with _told(self.url, "a note cannot be read"):
            return bytes(_obstore().get(self._store, name).bytes())

    def _write(self, note: Note) -> None:
        assert note.stored is not None  # noqa: S101
        stem = _stem(Path(note.stored.name))
        with _told(self.url, "the note cannot be put there"):
            _obstore().put(self._store, f"{note.cluster}/{stem}.json", write_note(note).encode())

    @property
    def _store(self) -> ObjectStore:
        with _told(self.url, "it cannot be used"):
            if self.url.startswith("file://"):
                Path(self.url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
                return cast("ObjectStore", package("obstore.store").LocalStore(self.url.removeprefix("file://")))
            # Given options take the place of those from the environment.
            without_tls = os.environ.get(in_clear(_scheme(self.url)), "").lower() in ("true", "1")
            options: Mapping[str, Any] = {
                "connect_timeout": _CONNECT,
                "read_timeout": _SILENT,
                "timeout": _WHOLE,
                **({"allow_http": True} if without_tls else {}),
            }
            made = package("obstore.store").from_url(self.url, client_options=options, retry_config=_RETRY)
            return cast("ObjectStore", made)


def _scheme(url: str) -> str:
    return url.partition(":")[0]


def _stem(path: Path) -> str:
    """Return the name of a copy without its endings."""
    return path.name.removesuffix(_ENCRYPTED).removesuffix(".db")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _obstore() -> Any:
    return package("obstore")


@contextlib.contextmanager
def _told(url: str, what: str) -> Iterator[None]:
    """Turn whatever a store says into a `VerificationError`."""
    try:
        yield
    except FleetError:
        raise
    except Exception as error:  # the exceptions of several stores have no base in common but this
        why, remedy = explain(str(error) or type(error).__name__, _scheme(url))
        raise VerificationError(f"{what}: {why}", where=url, remedy=remedy) from error
