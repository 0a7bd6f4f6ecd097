"""Several clients at once that write, swap and read registers through every member, and note what they are told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from tests.lab.conftest import LabHandle
from tests.lab.load import Pair
from tests.lab.register import wire
from tests.lab.register.history import Call, Finals, Gaps, Kind, Outcome, Stored, gaps, violations

CLIENTS, KEYS = 3, 5
PAUSE_SECONDS = 0.05
CALL_SECONDS = 2.0
"""After this long, a client takes a call for lost and asks the next member."""
_CHANNEL_OPTIONS = [
    # Else a member that was away for a moment is left alone for minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Else two clients share one connection, and with it its fate.
    ("grpc.use_local_subchannel_pool", 1),
]
_NEVER_SENT = ("failed to connect to all addresses", "connections to all backends failing")
_NEVER_DONE = ("not supported for learner", "database space exceeded", "too many requests", "permission denied")


@dataclass
class Workload:
    """What the clients were told so far. ``use`` says through which members they work from now on."""

    handle: LabHandle
    pair: Pair
    prefix: str
    hosts: Sequence[str]
    calls: list[Call] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)
    """How often each error was seen."""
    finals: Finals = field(default_factory=dict)

    def use(self, *hosts: str) -> None:
        """Let the clients work through the members on these hosts from now on."""
        self.hosts = hosts

    @property
    def violations(self) -> list[str]:
        """What no linearizable store could have told the clients. To be asked once they have ended."""
        assert self.finals, "the clients are still at work"
        return violations(self.calls, self.finals)

    @property
    def gaps(self) -> Gaps:
        """How well the clients were served."""
        return gaps(self.calls)

    def story(self) -> str:
        """Figures in one line, for notes."""
        service, kinds = self.gaps, dict.fromkeys(("write", "swap", "read"), 0)
        for call in self.calls:
            kinds[call.kind] += call.outcome == "ok"
        done = ", ".join(f"{number} {kind}s" for kind, number in kinds.items())
        return (
            f"{service.calls} calls ({done}), {service.unanswered} without an answer ({self.said}), longest gap"
            f" {service.longest:.2f} s, most retries {service.most_retries}"
        )


class _Client:
    """One client: a connection of its own to each member, one call after the other."""

    def __init__(self, work: Workload, number: int) -> None:
        self.work, self.name, self.random = work, f"c{number}", random.Random(number)  # noqa: S311  a mix
        self.channels: dict[str, grpc.Channel] = {}
        self.turn = number

    def run(self, stop: threading.Event) -> None:
        written, revisions = 0, dict[str, int]()
        while not stop.wait(PAUSE_SECONDS):
            hosts = self.work.hosts
            self.turn += 1
            key = f"{self.work.prefix}/{self.random.randrange(KEYS)}"
            kind: Kind = self.random.choice(("write", "swap", "swap", "read", "read"))
            written += 1
            call = self._call(hosts[self.turn % len(hosts)], kind, key, f"{self.name}-{written}", revisions.get(key, 0))
            if call.revision:
                revisions[key] = call.revision
            self.work.calls.append(call)
        for channel in self.channels.values():
            channel.close()

    def _call(self, host: str, kind: Kind, key: str, value: str, expected: int) -> Call:
        start = time.monotonic()
        outcome: Outcome
        try:
            outcome, told, revision = self._ask(host, kind, key, value, expected)
        except grpc.RpcError as error:
            text = _text(error)
            outcome, told, revision = _outcome(text), "" if kind == "read" else value, 0
            short = next((one for one in (*_NEVER_SENT, *_NEVER_DONE) if one in text), text[:100])
            self.work.said[short] = self.work.said.get(short, 0) + 1
        return Call(
            self.name, host, kind, key, start, time.monotonic(), outcome, told, revision, expected * (kind == "swap")
        )

    def _ask(self, host: str, kind: Kind, key: str, value: str, expected: int) -> tuple[Outcome, str, int]:
        if kind == "read":
            kvs = wire.range_response(self.ask(host, wire.RANGE, wire.range_request(key)))
            return ("ok", kvs[0].value, kvs[0].revision) if kvs else ("ok", "", 0)
        if kind == "write":
            return "ok", value, wire.revision(self.ask(host, wire.PUT, wire.put_request(key, value)))
        answer = self.ask(host, wire.TXN, wire.swap_request(key, value, expected))
        done, kvs = wire.swap_response(answer)
        if done:
            return "ok", value, wire.revision(answer)
        return "refused", value, kvs[0].revision if kvs else 0

    def ask(self, host: str, method: str, message: bytes) -> bytes:
        """Send one request and return its answer. Raises RpcError."""
        if host not in self.channels:
            self.channels[host] = channel(self.work.handle, host, self.work.pair)
        return _send(self.channels[host], method, message, CALL_SECONDS)


def channel(handle: LabHandle, host: str, pair: Pair) -> grpc.Channel:
    """Return a connection to the member on a host."""
    files = (pair.anchors, pair.key, pair.certificate)
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    return grpc.secure_channel(f"{handle.plan.host(host).address}:2379", credentials, options=_CHANNEL_OPTIONS)


def _send(connection: grpc.Channel, method: str, message: bytes, seconds: float) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = connection.unary_unary(method)
    return call(message, timeout=seconds)


def _text(error: grpc.RpcError) -> str:
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    return f"{code().name}: {details()}" if code and details else str(error)


def _outcome(error: str) -> Outcome:
    return "refused" if any(text in error for text in (*_NEVER_SENT, *_NEVER_DONE)) else "unknown"


@contextmanager
def clients_at_work(handle: LabHandle, pair: Pair, prefix: str, hosts: Sequence[str]) -> Iterator[Workload]:
    """Let clients work on keys of this prefix until the block ends; then read what each member holds.

    It begins once every client has been served, and ends with a moment in which every one has been served again.
    """
    work, stop = Workload(handle, pair, prefix, tuple(hosts)), threading.Event()
    clients = [_Client(work, number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=[stop], daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        _until_served(work)
        yield work
        _until_served(work)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    work.finals = {host: _held(handle, host, pair, prefix) for host in work.hosts}


def _until_served(work: Workload, seconds: float = 30) -> None:
    """Wait until each client has written or swapped through every member."""
    begun, end = len(work.calls), time.monotonic() + seconds
    wanted = {(f"c{number}", host) for number in range(CLIENTS) for host in work.hosts}
    while True:
        served = {(call.client, call.member) for call in work.calls[begun:] if call.kind != "read" and call.revision}
        if wanted <= served:
            return
        assert time.monotonic() < end, f"not served within {seconds} s: {sorted(wanted - served)}; {work.story()}"
        time.sleep(0.1)


def _held(handle: LabHandle, host: str, pair: Pair, prefix: str) -> dict[str, Stored]:
    with channel(handle, host, pair) as connection:
        answer = _send(connection, wire.RANGE, wire.range_request(f"{prefix}/", prefix=True), 10)
    return {kv.key: Stored(kv.value, kv.revision, kv.version) for kv in wire.range_response(answer)}
