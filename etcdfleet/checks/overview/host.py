"""What is to be said about one host: pure functions from what was seen to sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from etcdfleet.alike import natural
from etcdfleet.alike import together as alike_texts
from etcdfleet.certs import Certificate, parse_pem_bundle
from etcdfleet.certs.authority import CA_DAYS, CA_ENDED
from etcdfleet.certs.chain import find_path
from etcdfleet.checks.overview.data import Concern, Key, Level, Life, Machine, MemberView
from etcdfleet.errors import CertificateError
from etcdfleet.host.preflight import PEER_CLOCK_WARNING
from etcdfleet.host.storage import ABSENT_REMEDY, SEGMENT_BYTES
from etcdfleet.renewal import RenewBefore
from etcdfleet.text import mib, span_text

KEY_MODE = "600 etcd"
"""Mode and owner of a private key, as `stat` writes them."""
DEPLOY, ROTATE = "run deploy", "run rotate_certs"
ROTATE_OR_DEPLOY = f"{ROTATE} (or deploy)"
RESTORING = "complete it with the command that began it: python runbooks/restore.py FILE --cluster NAME"
FORGOTTEN = "they are from before a restore of the cluster, or of another one, and etcd lets it take no part"
_DAY = 86400.0


def life_of(
    role: str, pem: str | None, trusted: Sequence[Certificate], now: datetime, renew_before: RenewBefore
) -> Life:
    """Return how long the pair of a role is good for; ``trusted`` are the CAs that the host trusts on its side."""
    if pem is None:
        return Life(role, problem="is missing")
    try:
        certificates = parse_pem_bundle(pem)
    except CertificateError as error:
        return Life(role, problem=f"cannot be read: {error.what}")
    leaf = certificates[0]
    path = find_path(certificates, trusted, at=now) if trusted else None
    # One that was cut to the end of its CA is not to be helped by another one of that CA.
    first = min(path or certificates, key=lambda certificate: (certificate.not_after, certificate == leaf))
    life = Life(
        role,
        first.not_after,
        (first.not_after - now).total_seconds() / _DAY,
        "" if first == leaf else first.title,
        first.not_after - now <= renew_before.threshold(leaf.not_after - leaf.not_before),
        leaf.serial,
    )
    if now < leaf.not_before:
        when = f"{leaf.not_before:%Y-%m-%d %H:%M:%S} UTC"
        return Life(role, problem=f"is not valid before {when}, and the host's clock says it is earlier")
    if trusted and path is None:
        return Life(role, life.ends, life.days_left, problem="does not lead to a CA that the host trusts")
    return life


_EMPTY = hashlib.sha256(b"").hexdigest()


def key_of(role: str, sha256: str, noted: str, mode: str) -> Key | None:
    """Return what is wrong with the key of a pair, if anything. Digests are of its file (empty: there is none), and as
    noted when it was placed (empty: by hand).
    """
    if not sha256:
        return Key(role, "is missing", broken=True)
    if sha256 == _EMPTY:
        return Key(role, "is empty", broken=True)
    if noted and sha256 != noted:
        return Key(role, "is not the one that was placed with it", broken=True)
    if noted and mode != KEY_MODE:
        number, _, owner = mode.partition(" ")
        return Key(role, f"has mode {number} and owner {owner}, instead of 600 and etcd")
    return None


def state_of(view: MemberView) -> str:
    """Return the state of a member in a word or two, for the table and the report."""
    machine = view.machine
    if machine is None:
        return "down" if unreached(view.problem) else "no access"
    if not machine.deployed:
        return "not deployed"
    if not machine.running:
        return "stopped"
    if view.status is None:
        return "silent"
    if any("CORRUPT" in error for error in view.status.errors):
        return "corrupt"
    if view.status.learner and view.status.leader_id:
        return "learner"  # through which etcd serves no reads
    if not view.serves:
        return "no reads" if view.status.leader_id else "no leader"
    if any("NOSPACE" in error for error in view.status.errors):
        return "full"
    return "serves"


def unreached(problem: str) -> bool:
    """Return whether a host gave no answer at all; else it refused who asked, which says nothing of its etcd."""
    return any(words in problem for words in ("cannot be reached", "lost", "did not end", "does not resolve"))


def host_concerns(
    view: MemberView, within_days: float, *, cluster_lives: bool, all_unseen: bool = False, cluster_id: int = 0
) -> Iterator[Concern]:
    """Return everything about one host. Certificates with less than ``within_days`` left are mentioned, due or not.

    With ``all_unseen`` no host of the cluster could be asked: what they have in common is the way from here.
    ``cluster_id`` is that of the cluster that works, 0 for none.
    """
    machine = view.machine
    if machine is None:
        certain = unreached(view.problem) and not all_unseen
        yield Concern(Level.BROKEN if certain else Level.UNKNOWN, view.problem, (view.host,), view.remedy)
        return
    if machine.other:
        yield Concern(Level.WRONG, machine.other[0], (view.host,), machine.other[1])
        return
    if not machine.deployed:
        remedy = _join(view.host) if cluster_lives else DEPLOY
        yield Concern(Level.WRONG, "nothing is deployed there", (view.host,), remedy)
        return
    forgotten = cluster_id and machine.cluster_id not in (0, cluster_id) and not view.serves
    if machine.restoring:
        yield Concern(Level.BROKEN, machine.restoring, (view.host,), RESTORING)
    elif forgotten:
        what = f"its data are of cluster {machine.cluster_id:x}, and the others are in {cluster_id:x}: {FORGOTTEN}"
        remedy = f"python runbooks/replace_member.py {view.host} moves them aside, keeps them, and has it join"
        yield Concern(Level.BROKEN, what, (view.host,), remedy)
    else:
        yield from _service(view, machine, cluster_lives=cluster_lives)
    yield from _keys(view.host, machine)
    yield from _clock(view, machine)
    for life in machine.lives:
        yield from _life(view.host, life, within_days, machine.running)
    yield from _due_ca(view.host, machine)
    yield from _changing(view.host, machine)
    yield from _drift(view.host, machine)
    yield from _space(view, machine)
    run = view.last_run
    if run and (run.failed or run.state in {"interrupted", "killed"}):
        how = "failed there" if run.failed else f"was {run.state}"
        what = f"the last run, {run.runbook} at {run.started:%Y-%m-%d %H:%M} UTC, {how}"
        yield Concern(Level.SOON, what, (view.host,), f"run {run.runbook} again: it finishes what is missing")


RESTORE_THEN = (
    "bring back a majority of the members that have theirs; if there is none: python runbooks/restore.py --cluster NAME"
    " says from what the cluster can be restored, and what each source loses"
)


def _join(host: str) -> str:
    """Return what to do about a host of a cluster that works without it."""
    return (
        f"python runbooks/replace_member.py {host}, where it has lost its data or is new to the cluster; where a first"
        " deploy was interrupted, run deploy"
    )


def _service(view: MemberView, machine: Machine, *, cluster_lives: bool) -> Iterator[Concern]:
    here = (view.host,)
    if machine.disk_absent and not machine.running:
        what = f"etcd waits for the disk with its data: nothing is mounted on {machine.disk_absent}"
        yield Concern(Level.BROKEN, what, here, ABSENT_REMEDY.format(point=machine.disk_absent))
    elif machine.data_lost:
        what = "its data are lost: it was a member, and there are none in its data directory"
        then = f"python runbooks/replace_member.py {view.host}" if cluster_lives else RESTORE_THEN
        remedy = f"see first whether their disk is mounted there; then {then}"
        yield Concern(Level.BROKEN, what, here, remedy)
    elif machine.blank:
        what = "etcd does not run there, and the host is as a new one: there are no data, and no note of a cluster"
        yield Concern(
            Level.BROKEN, what, here, _join(view.host) if cluster_lives else f"{DEPLOY}, of the whole cluster"
        )
    elif not machine.running:
        state = f" ({machine.service})" if machine.service else ""
        yield Concern(
            Level.BROKEN, f"etcd does not run there{state}", here, "see its log on the host; deploy starts it"
        )
    elif view.status is None and (role := unaskable(machine)):
        asker = "etcdctl on the host" if role == "client" else "it"
        what = f"etcd runs and cannot be asked: {asker} has no {role} certificate and key that can be used"
        broken = role == "client" or any(key.broken for key in machine.keys) or not machine.keys
        remedy = ROTATE_OR_DEPLOY if broken else DEPLOY
        if any(life.ca and life.days_left <= 0 for life in machine.lives):
            remedy = CA_ENDED
        yield Concern(Level.BROKEN, what, here, remedy)
    elif view.status is None:
        why = f": {view.silent}" if view.silent else ""
        yield Concern(Level.BROKEN, f"etcd runs and does not answer{why}", here, "see its log on the host; run verify")
    if machine.running and not machine.enabled:
        yield Concern(Level.WRONG, "etcd is not enabled at boot: the next boot takes the member down", here, DEPLOY)


def unaskable(machine: Machine) -> str:
    """Return the role, client or server, whose pair on the host is such that etcd there cannot be asked at all.

    Empty if neither is. etcdctl runs as root, and can read a key of any owner.
    """
    ended = {life.role for life in machine.lives if life.problem or (life.ends is not None and life.days_left <= 0)}
    ended |= {key.role for key in machine.keys if key.broken or key.role == "server"}
    return next((role for role in ("client", "server") if role in ended), "")


def _keys(host: str, machine: Machine) -> Iterator[Concern]:
    for key in machine.keys:
        what = f"the key of the {key.role} certificate {key.problem}"
        if key.broken:
            what += ": new connections with it fail"
            yield Concern(Level.BROKEN, what, (host,), ROTATE_OR_DEPLOY if machine.running else DEPLOY)
        else:
            yield Concern(Level.WRONG, what, (host,), DEPLOY)


def _clock(view: MemberView, machine: Machine) -> Iterator[Concern]:
    offset = machine.clock_offset
    if abs(offset) <= PEER_CLOCK_WARNING:
        return
    what = f"its clock is {span_text(abs(offset))} {'ahead of' if offset > 0 else 'behind'} this machine's"
    remedy = "set whichever of the two is wrong, and keep it right with chrony, ntpd or systemd-timesyncd"
    if abs(offset) > view.clock_tolerance:
        yield Concern(Level.WRONG, f"{what}; the limit is {view.clock_tolerance} s", (view.host,), remedy)
    else:
        yield Concern(Level.SOON, what, (view.host,), remedy)


def _life(host: str, life: Life, within_days: float, running: bool) -> Iterator[Concern]:
    new = ROTATE_OR_DEPLOY if running else DEPLOY  # which starts etcd, too
    if life.problem:
        remedy = "compare the clocks" if "valid before" in life.problem else new
        yield Concern(Level.BROKEN, f"the {life.role} certificate {life.problem}", (host,), remedy)
        return
    if life.ends is None:
        return
    what = f"the CA {life.ca!r} of the {life.role} certificate" if life.ca else f"the {life.role} certificate"
    remedy = ROTATE
    if life.ca:
        remedy = "renew the CA where certificates come from, then run rotate_certs --ca"
    if life.days_left <= 0:
        ago = span_text(-life.days_left * _DAY)
        remedy = CA_ENDED if life.ca else new
        yield Concern(Level.BROKEN, f"{what} expired {ago} ago ({life.ends:%Y-%m-%d %H:%M} UTC)", (host,), remedy)
    elif life.due or life.days_left < (max(within_days, CA_DAYS) if life.ca else within_days):
        left = span_text(life.days_left * _DAY)
        due = " and is due" if life.due else ""
        text = f"{what} ends in {left}{due} ({life.ends:%Y-%m-%d})"
        if not life.due and not life.ca:
            remedy = "rotate_certs renews it once it is due (pki.renew_before), with --force at once"
        yield Concern(Level.SOON, text, (host,), remedy, life.days_left)


def _changing(host: str, machine: Machine) -> Iterator[Concern]:
    sides: dict[str, list[str]] = {}
    for side, names in machine.besides:
        sides.setdefault(names, []).append(f"{side}s")
    for names, where in sides.items():
        what = (
            f"{names} is trusted for {' and '.join(where)}, and no certificate on the host leads there: another CA "
            "is to be used, or the previous one was left trusted"
        )
        yield Concern(
            Level.SOON, what, (host,), "rotate_certs --ca goes on with it, and completes it with --yes", 1000.0
        )


def _due_ca(host: str, machine: Machine) -> Iterator[Concern]:
    sides: dict[tuple[str, str], list[str]] = {}
    for side, new, old in machine.due_ca:
        sides.setdefault((new, old), []).append(f"{side}s")
    for (new, old), where in sides.items():
        what = f"Vault issues by {new!r} now for {' and '.join(where)}, and the certificates on the host are of {old!r}"
        yield Concern(
            Level.SOON, what, (host,), "a change of CA is due: rotate_certs --ca --check says what it will do", 999.0
        )


def _drift(host: str, machine: Machine) -> Iterator[Concern]:
    if machine.drift:
        noun = "differs" if len(machine.drift) == 1 else "differ"
        what = f"{', '.join(machine.drift)} {noun} from what deploy would write"
        yield Concern(Level.WRONG, what, (host,), "status --diff shows how; deploy writes it anew")
    if machine.restart_pending and machine.running:
        what = f"etcd is due for a restart ({'; '.join(dict.fromkeys(machine.restart_pending.splitlines()))})"
        yield Concern(Level.WRONG, what, (host,), DEPLOY)


def _space(view: MemberView, machine: Machine) -> Iterator[Concern]:
    free = machine.free_bytes
    if free is None:
        return
    remedy = "free some space on the host (df -h)"
    if free < SEGMENT_BYTES:
        what = f"its disk has {mib(free)} left, and etcd's next log file takes {mib(SEGMENT_BYTES)}"
        yield Concern(Level.WRONG, what, (view.host,), remedy)
    elif view.status and free < view.quota_bytes - view.status.db_size:
        room = mib(view.quota_bytes - view.status.db_size)
        what = f"its disk has {mib(free)} left, and the database may grow by {room} to its quota"
        yield Concern(Level.SOON, what, (view.host,), f"{remedy}, or lower cluster.quota_bytes", 1000.0)


def merge_concerns(concerns: Iterable[Concern], names: Mapping[str, Sequence[str]]) -> tuple[Concern, ...]:
    """Return the concerns with the hosts of equal sentences joined, worst first and then what comes first.

    ``names`` is what each host is called in sentences about it.
    """
    by_place = {f"{number}": concern for number, concern in enumerate(concerns)}
    alike = alike_texts(
        (place, names.get(one.hosts[0], ()) if len(one.hosts) == 1 else (), one.level, (one.what, one.remedy))
        for place, one in by_place.items()
    )
    joined = []
    for group in alike:
        same = [by_place[place] for place in group.places]
        hosts = natural(dict.fromkeys(host for one in same for host in one.hosts))
        joined.append(Concern(group.kind, group.texts[0], hosts, group.texts[1], min(one.days for one in same)))
    return tuple(sorted(joined, key=lambda concern: (concern.level, concern.days)))
