"""Stand-ins for what a task works with: a host that answers as the test says, what was seen of it, time, etcdctl."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from nornir.core.task import Result

from etcdfleet.drivers import packages
from etcdfleet.drivers.init import ServiceState
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.drivers.packages import Installed
from etcdfleet.remote import CommandResult, RemoteFile, RemoteHost
from etcdfleet.settings.models import ClusterSettings, HostSettings, client_url, peer_url
from tasks.observe import Observed, Site
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.fake_run import nornir_of
from tests.unit.support.site import MEMBERS, settings

Answer = str | CommandResult | BaseException
Answers = Answer | Sequence[Answer] | Callable[[], Answer]
REFUSED = CommandResult(1, "", "it was refused")
STOPPED = ServiceState(running=False, enabled=True)
RUNNING = ServiceState(running=True, enabled=True, pid=77, detail="active (running)")


class Scripted(RemoteHost):
    """Answers scripts, in which the first text of ``answers`` is found, with what stands there; any other with nothing.

    Of several answers each is given once, the last one for ever; a function is asked each time. What was sent is in
    ``sent``, in order, and the contents of placed files are in ``placed``. No shell runs.
    """

    def __init__(self, answers: Mapping[str, Answers] | None = None) -> None:
        super().__init__("az-1", None)  # type: ignore[arg-type]
        self.answers = dict(answers or {})
        self.sent: list[str] = []
        self.placed: dict[str, bytes] = {}

    def _run_as_root(self, data: bytes, timeout: float) -> CommandResult:  # noqa: ARG002
        return self._answer(data.decode())

    def _answer(self, script: str) -> CommandResult:
        self.sent.append(script)
        text = next((text for text in self.answers if text in script), "")
        said = self.answers.get(text, "")
        if callable(said):
            said = said()
        elif not isinstance(said, Answer):
            said, *later = said
            self.answers[text] = later or [said]
        if isinstance(said, BaseException):
            raise said
        return CommandResult(0, said, "") if isinstance(said, str) else said

    def batch(self, commands: Mapping[str, str], **_: Any) -> dict[str, CommandResult]:
        return {name: self._answer(script) for name, script in commands.items()}

    def place(self, files: Sequence[RemoteFile], **how: Any) -> CommandResult:
        self.placed |= {file.path: file.content for file in files}
        return super().place(files, **how)

    def was_sent(self, text: str) -> bool:
        """Whether a script with this text was sent."""
        return any(text in script for script in self.sent)


class Packages(packages.Packages[Any]):
    """A way to install etcd of which the test says whether it is due; what was done is in ``done``."""

    title = "apt"

    def __init__(self, due: str = "", offers: Answer = "3.5.16") -> None:
        super().__init__(None, "az-1")
        self.due, self.offers, self.done = due, offers, list[str]()

    def read(self, _: object) -> Installed:
        raise NotImplementedError

    def reason(self, *_: object) -> str:
        return self.due

    def offer(self, *_: object) -> str:
        if isinstance(self.offers, BaseException):
            raise self.offers
        return str(self.offers)

    def prepare(self, *_: object) -> None:
        self.done.append("prepared")

    def install(self, *_: object) -> None:
        self.done.append("installed")
        self.due = ""

    def add(self, _: object, name: str) -> None:
        self.done.append(f"added {name}")

    def hold(self, *_: object) -> None:
        self.done.append("held")


def seen(
    service: ServiceState = STOPPED, installed: Installed | None = None, *, init_fits: bool = True, **facts: Any
) -> Observed:
    """What was observed of a good host, but for these facts."""
    found = replace(GOOD, **{"has_user": True, **facts})
    return Observed(found, service, installed or Installed("3.5.16", "3.5.16-4"), init_fits)


class Place(Site):
    """A host of which was observed what the test says: after each change the next of several things."""

    def __init__(
        self,
        host: RemoteHost | None = None,
        *observed: Observed,
        packages: Packages | None = None,
        of: HostSettings | None = None,
    ) -> None:
        super().__init__(of or settings(), host or Scripted(), Systemd(), packages or Packages())
        self.coming = list(observed or [seen()])

    def observe(self) -> Observed:
        return self.coming[0]

    def forget(self) -> None:
        if len(self.coming) > 1:
            self.coming.pop(0)


class Clock:
    """Time that passes only while somebody sleeps: in place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def carry_out(
    task: Callable[..., Any], site: Site, *, check: bool = False, source: Any = None, **params: Any
) -> Result:
    """What a task gives on this host; what it raised is in ``exception``, as with Nornir."""
    module = sys.modules[task.__module__]
    stand_ins = {"site_of": lambda _: site} | ({"source_of": lambda *_: source} if source else {})
    name = site.settings.name
    with mock.patch.multiple(module, **stand_ins):
        return nornir_of({name: "k8s-home"}, check=check).run(task, **params)[name][0]


def error_of(result: Result) -> str:
    """What, where and remedy of the error of a task that failed."""
    assert result.failed
    return str(result.exception)


# What etcdctl prints, of the three members of `tests.unit.support.site` with the ids 1, 2 and 3.


TLS, PLAIN = settings().cluster, settings(client_tls=False, peer_tls=False).cluster


def member_list(*unstarted: int, ids: Sequence[int] = (1, 2, 3), cluster: ClusterSettings = TLS) -> str:
    """``member list``; those in ``unstarted`` have not published their names yet."""
    members = [
        {
            "ID": number,
            "name": "" if number in unstarted else MEMBERS[number - 1].name,
            "peerURLs": [peer_url(MEMBERS[number - 1], cluster)],
            "clientURLs": [] if number in unstarted else [client_url(MEMBERS[number - 1], cluster)],
        }
        for number in ids
    ]
    return json.dumps({"header": {"cluster_id": 9, "member_id": ids[0]}, "members": members})


def statuses(
    *ids: int,
    leader: int = 1,
    errors: Sequence[str] = (),
    cluster: ClusterSettings = TLS,
    **index: int,
) -> str:
    """``endpoint status`` of these members; ``index`` (az1=…) are raft indexes other than 50."""
    return json.dumps(
        [
            {
                "Endpoint": client_url(MEMBERS[number - 1], cluster),
                "Status": {
                    "header": {"cluster_id": 9, "member_id": number, "revision": 21, "raft_term": 2},
                    "version": "3.5.16",
                    "dbSize": 20480,
                    "dbSizeInUse": 16384,
                    "leader": leader,
                    "raftIndex": index.get(f"az{number}", 50),
                    "raftTerm": 2,
                    "raftAppliedIndex": index.get(f"az{number}", 50),
                }
                | ({"errors": list(errors)} if errors else {}),
            }
            for number in ids
        ]
    )


def healths(*ids: int, sick: Sequence[int] = (), cluster: ClusterSettings = TLS) -> str:
    """``endpoint health`` of these members."""
    return json.dumps(
        [
            {"endpoint": client_url(MEMBERS[number - 1], cluster), "health": number not in sick, "took": "7ms"}
            | ({"error": "context deadline exceeded"} if number in sick else {})
            for number in ids
        ]
    )


def hashes(*ids: int, other: Sequence[int] = (), cluster: ClusterSettings = TLS) -> str:
    """``endpoint hashkv`` of these members, of which some hold ``other`` data."""
    return json.dumps(
        [
            {
                "Endpoint": client_url(MEMBERS[number - 1], cluster),
                "HashKV": {
                    "header": {"cluster_id": 9, "member_id": number, "revision": 21, "raft_term": 2},
                    "hash": 7 if number in other else 4711,
                    "compact_revision": -1,
                },
            }
            for number in ids
        ]
    )
