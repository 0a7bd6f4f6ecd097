"""From which sources a cluster can be restored, which of them loses least, and what each would lose. Pure.

What was committed has one order in the life of a cluster: of two sources with data of one cluster id, the one with the
higher raft index has all that the other has. The *term* says nothing about that: a member that was cut off raises it
with each election that it tries, and has none of what the others wrote meanwhile. Of what a member's log holds, the
part up to its commit index counts: a restore from it throws the rest away (``--force-new-cluster``). Data of another
cluster id are from before a restore, or of another cluster; how much they lack cannot be reckoned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.restore_record import RestoreRecord
from etcdfleet.text import counted, listed

Kind = Literal["backup", "copy", "member", "aside"]
_ORDER: Mapping[Kind, int] = {"backup": 0, "member": 1, "aside": 2, "copy": 3}
"""Of those that lose the same: what was proven and is here; what needs an etcd to be started; what is away."""
_MAY_LAG = 1
"""Revisions by which two members may differ at one raft index in their files: etcd ended between the two writes."""
IDENTITY = "--identity KEYFILE"


@dataclass(frozen=True)
class Held:
    """How far the data of a member or of a backup have come: what it said, or what its files say.

    ``index`` is the raft index up to which its log is committed, ``applied`` that of its database, which ``revision``
    is of.
    """

    cluster_id: int
    revision: int
    applied: int
    index: int
    alarms: tuple[str, ...] = ()
    member_id: int = 0


@dataclass(frozen=True)
class Found:
    """Something from which the cluster might be restored.

    ``where`` is a host, ``HOST:FOLDER``, or a file; ``held`` is None where nothing of use could be read, and ``why``
    says why. Of backups, ``taken`` is when, of data that were moved aside when that was; ``encrypted`` says that a
    secret key is needed; of a ``copy`` away, ``store`` is where, and ``where`` its name. ``runs`` says that the member
    answers.
    """

    kind: Kind
    where: str
    held: Held | None = None
    why: str = ""
    taken: str = ""
    encrypted: bool = False
    store: str = ""
    runs: bool = False


@dataclass(frozen=True)
class Offer:
    """A source: what it is, what a restore from it loses, and the command for it."""

    source: str
    loses: str
    command: str


@dataclass(frozen=True)
class Proposal:
    """The sources there are, the best one first, and what a person must know beside; ``title`` says for what."""

    title: str
    offers: tuple[Offer, ...] = ()
    notes: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Return all of it for a person."""
        lines = [self.title]
        for number, offer in enumerate(self.offers, 1):
            lines += [f"{number}. {offer.source}", f"   {offer.loses}", f"   {offer.command}"]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)]) + "\n"


@dataclass(frozen=True)
class Scene:
    """What was seen of a cluster: whether a majority ``works``, which hosts could not be read (``unread``), which hosts
    hold no data (``lost``), and the id of the cluster by its ``markers``, with the number of restores in each.
    """

    cluster: str
    works: bool = False
    unread: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    markers: tuple[tuple[int, int], ...] = field(default=())


def propose(scene: Scene, found: Sequence[Found]) -> Proposal:
    """Return what the cluster can be restored from, the best source first."""
    current = _current(scene, found)
    flaws = _flaws(found, current)
    usable = [one for one in found if one.held and not (scene.works and one.kind == "member")]
    usable.sort(key=lambda one: _rank(one, current, flaws))
    best = next((one for one in usable if one.held and one.held.cluster_id == current and one not in flaws), None)
    if scene.works:  # what works has all; a restore goes back to what there was
        running = [one for one in found if one.kind == "member" and one.held and one.runs]
        best = max(running, key=lambda one: one.held.index if one.held else 0, default=best)
    offers = tuple(
        Offer(_told(one), "; ".join(filter(None, (_loses(one, best, current), flaws.get(one)))), _command(one, scene))
        for one in usable
    )
    return Proposal(_title(scene, offers), offers, _notes(scene, found, best))


def to_complete(cluster: str, record: RestoreRecord, file: str) -> Proposal:
    """Return what there is to do where a restore is under way: nothing else. ``file`` is its snapshot, if here."""
    source = f"restoring the snapshot of revision {record.revision}, since {record.begun}, on {record.host} first"
    option = "--from-data" if ":" in record.survivor else "--from-member"
    words = f"{option} {record.survivor}" if record.survivor else file or "FILE"
    told = "" if file or record.survivor else f"; FILE is the snapshot whose SHA-256 begins with {record.snapshot[:12]}"
    command = f"python runbooks/restore.py {words} --cluster {cluster}"
    return Proposal(
        f"A restore of {cluster} is under way: complete it, with the command that began it.",
        (Offer(source, f"the same as before; what clients wrote since stays{told}", command),),
        (f"where it cannot be completed: add --anew, with any source; {cluster} begins anew with that",),
    )


def _title(scene: Scene, offers: Sequence[Offer]) -> str:
    if scene.works:
        return (
            f"A majority of {scene.cluster} works, so nothing has to be restored; a host that lost its data:"
            " python runbooks/replace_member.py HOST."
            + (" To go back to what there was before, the latest first:" if offers else "")
        )
    if not offers:
        return (
            f"Nothing was found from which {scene.cluster} can be restored: look for a snapshot elsewhere, then python"
            f" runbooks/restore.py FILE --cluster {scene.cluster}."
        )
    return f"Sources from which {scene.cluster} can be restored, the one that loses least first:"


def _current(scene: Scene, found: Sequence[Found]) -> int:
    """Return the id of the cluster that is to be restored: by the markers, the data of members, the newest backup."""
    if scene.markers:
        most = max(restores for _, restores in scene.markers)
        return Counter(number for number, restores in scene.markers if restores == most).most_common(1)[0][0]
    if ids := Counter(one.held.cluster_id for one in found if one.kind == "member" and one.held):
        return ids.most_common(1)[0][0]
    newest = max((one for one in found if one.held and one.taken), key=lambda one: one.taken, default=None)
    return newest.held.cluster_id if newest and newest.held else 0


def _flaws(found: Sequence[Found], current: int) -> Mapping[Found, str]:
    """Return what may be wrong with the data of sources."""
    flaws = {
        one: "IT MAY BE WRONG: the alarm CORRUPT is raised in it"
        for one in found
        if one.held and "CORRUPT" in one.held.alarms
    }
    by_index: dict[int, list[Found]] = {}
    for one in found:
        if one.kind == "member" and one.held and one.held.cluster_id == current:
            by_index.setdefault(one.held.applied, []).append(one)
    for index, same in by_index.items():
        revisions = [one.held.revision for one in same if one.held]
        if max(revisions) - min(revisions) <= _MAY_LAG:
            continue
        right, count = Counter(revisions).most_common(1)[0]
        differ = [one for one in same if one.held and (one.held.revision != right or 2 * count <= len(same))]
        told = ", ".join(f"{one.where} revision {one.held.revision}" for one in same if one.held)
        flaws |= dict.fromkeys(differ, f"IT MAY BE WRONG: members differ at raft index {index} ({told})")
    return flaws


def _rank(one: Found, current: int, flaws: Mapping[Found, str]) -> tuple[bool, float, int, int, str]:
    assert one.held is not None  # noqa: S101  others are no sources
    return one in flaws, _life(one, current), -one.held.index, _ORDER[one.kind], one.where


def _life(one: Found, current: int) -> float:
    """Return a number for the life of the cluster that data are from: this one first, then the latest by their time."""
    if one.held and one.held.cluster_id == current:
        return -2.0
    return -datetime.fromisoformat(one.taken).timestamp() / 1e12 if one.taken else -1.0


def _told(one: Found) -> str:
    assert one.held is not None  # noqa: S101
    held, time = one.held, one.taken[:16].replace("T", " ")
    what = {
        "backup": f"the backup of {time} UTC",
        "copy": f"the copy of {time} UTC in {one.store}{', encrypted' if one.encrypted else ''}",
        "member": f"what {one.where} has, whose etcd {'answers' if one.runs else 'does not answer'}",
        "aside": f"what was moved aside on {one.where.partition(':')[0]}{f' at {time} UTC' if time else ''}",
    }[one.kind]
    more = held.index - held.applied
    log = f", and up to {counted(more, 'change')} more in its log" if more > 0 and one.kind != "backup" else ""
    return f"{what}: revision {held.revision}{log}"


def _loses(one: Found, best: Found | None, current: int) -> str:
    assert one.held is not None  # noqa: S101
    if one.held.cluster_id != current:
        return f"it is of cluster {hex_id(one.held.cluster_id)}, from before a restore or another one"
    if best is None or best.held is None:
        return "nothing tells what it lacks"
    if one is best or one.held.index >= best.held.index:
        return "nothing that was found is newer" if one is best else f"as new as {_short(best)}"
    fewer = best.held.revision - one.held.revision
    if fewer > 0:
        least = "at least " if best.held.index > best.held.applied else ""
        return f"loses {least}{counted(fewer, 'revision')} that {_short(best)} has"
    return f"loses up to {counted(best.held.index - one.held.index, 'change')} in the log of {_short(best)}"


def _short(one: Found) -> str:
    return one.where if one.kind in ("member", "aside") else f"the {one.kind} of {one.taken[:16].replace('T', ' ')} UTC"


def _command(one: Found, scene: Scene) -> str:
    of = f"--cluster {scene.cluster}"
    without = "".join(f" --without {host}" for host in scene.unread)
    if one.kind == "member":
        return f"python runbooks/restore.py --from-member {one.where} {of}{without}"
    if one.kind == "aside":
        return f"python runbooks/restore.py --from-data {one.where} {of}{without}"
    if one.kind == "backup":
        return f"python runbooks/restore.py {one.where} {of}{without}"
    key = f" {IDENTITY}" if one.encrypted else ""
    return f"python runbooks/restore.py {one.where} {of}{key}{without}"


def _notes(scene: Scene, found: Sequence[Found], best: Found | None) -> tuple[str, ...]:
    notes = [f"of no use: {one.where}: {one.why}" for one in found if one.held is None]
    if scene.unread:
        notes.append(
            f"{listed(scene.unread)} cannot be read, so what is newer there is not known: bring it up if there is a"
            " way, and look again; --without leaves out what is gone"
        )
    if not scene.works and best and best.kind == "member" and (scene.lost or scene.unread):
        notes.append(
            f"{best.where} may lack the last writes that clients were told were done, for which"
            f" {listed((*scene.lost, *scene.unread))} had voted"
        )
    if any(one.encrypted for one in found if one.held):
        notes.append(f"{IDENTITY} is the file with the secret key of age to which the copies are encrypted")
    return tuple(notes)
