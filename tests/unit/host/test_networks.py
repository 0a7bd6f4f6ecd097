"""Networks between hosts, and between them and this machine: the next case is one row of its table."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from etcdfleet.client_files import ClientFiles
from etcdfleet.etcd.etcdctl import PROXY_VARIABLES, etcdctl, past_proxies
from etcdfleet.host import facts, preflight, reach
from etcdfleet.host.proxies import proxy_for
from etcdfleet.host.reach import (
    OPEN,
    REFUSED,
    TIME_OUT,
    Routes,
    address_problems,
    closed_ports,
    read_heard,
    read_routes,
)
from etcdfleet.host.tls_port import look
from etcdfleet.settings.models import HostSettings
from etcdfleet.vault import VaultConnection
from etcdfleet.vault import errors as meaning
from etcdfleet.vault.transport import Broken, Transport
from tasks.reach import LISTENS, connect, listen
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.certs_ca import ca
from tests.unit.support.site import MEMBERS, LocalHost, settings

ONE, TWO, THREE = (member.address for member in MEMBERS)


def six(host: HostSettings, *numbers: int) -> HostSettings:
    """The same host in a cluster of which some members have an address of IPv6."""
    members = tuple(
        member.model_copy(update={"address": f"fd00::{number}"}) if number in numbers else member
        for number, member in enumerate(host.members, 1)
    )
    return replace(host, member=members[host.members.index(host.member)], members=members)


NAMES = {
    "IPv4": (settings(1), (ONE,), ""),
    "A and AAAA": (settings(1), (ONE, "fd00::1"), ""),
    "AAAA and link-local, as libnss-myhostname gives it": (settings(1), ("fe80::1%eth0", ONE), ""),
    "link-local without a zone": (settings(1), ("fe80::1", ONE), ""),
    "IPv4 in the form of IPv6": (settings(1), (f"::ffff:{ONE}",), ""),
    "another A": (settings(1), (ONE, "198.51.100.99"), f"resolves there to {ONE}, 198.51.100.99"),
    "another A alone": (settings(1), ("198.51.100.99",), "resolves there to 198.51.100.99"),
    "AAAA alone": (settings(1), ("fd00::1",), "resolves there to fd00::1, and the inventory says 198.51.100.11"),
    "link-local alone": (settings(1), ("fe80::1%eth0",), "resolves there to fe80::1%eth0"),
    "the name of the host at loop-back": (settings(1), ("127.0.1.1", ONE), "resolves there to 127.0.1.1"),
    "nothing": (settings(1), (), "does not resolve there"),
    "no DNS server answers": (settings(1), (facts.NO_DNS,), "no DNS server answers this host within 5 s"),
    "IPv6": (six(settings(1), 1, 2, 3), ("fd00::1",), ""),
    "IPv6 and A": (six(settings(1), 1, 2, 3), ("fd00::1", ONE), ""),
    "another AAAA": (six(settings(1), 1, 2, 3), ("fd00::1", "fd00::99"), "resolves there to fd00::1, fd00::99"),
    "IPv6 written otherwise": (six(settings(1), 1, 2, 3), ("fd00:0:0::1",), ""),
}


def test_names_are_resolved_side_by_side_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose DNS server is silent: glibc alone would try for 10 s and more, for each name and each way."""
    getent = tmp_path / "getent"
    getent.write_text(
        "#!/bin/sh\ncase $1-$2 in\n"
        "*-silent) exec sleep 30 ;;\n"
        'ahosts-good) printf "192.0.2.1 STREAM good\\n192.0.2.1 DGRAM\\n" ;;\n'
        'hosts-old) echo "192.0.2.2 old" ;;\n'
        "*) exit 2 ;;\nesac\n"
    )
    getent.chmod(0o755)
    monkeypatch.setattr(facts, "RESOLVE_SECONDS", 0.5)
    script = f"PATH={tmp_path}:$PATH\n" + facts._resolve(["good", "silent", "old", "silent", "none"])
    resolved = facts._resolved(LocalHost().run(script, timeout=20).stdout)
    assert resolved == {"good": ("192.0.2.1",), "silent": (facts.NO_DNS,), "old": ("192.0.2.2",), "none": ()}


@pytest.mark.parametrize(("host", "addresses", "says"), NAMES.values(), ids=NAMES.keys())
def test_names_lead_to_members(host: HostSettings, addresses: tuple[str, ...], says: str) -> None:
    resolves = {member.fqdn: (member.address,) for member in host.members} | {host.member.fqdn: addresses}
    troubles = preflight.name_problems(host, replace(GOOD, resolves=resolves))
    assert [says in trouble.what and bool(trouble.remedy) for trouble in troubles] == ([True] if says else [])


MIXED = six(settings(1), 1)
HAS = (ONE, "fd00::1", "127.0.0.1", "fe80::1")
SOURCES = {
    "as it should be": (settings(1), Routes(HAS, {TWO: ONE, THREE: ONE}), (ONE,), "", ""),
    "IPv6 as it should be": (
        six(settings(1), 1, 2, 3),
        Routes(HAS, {"fd00::2": "fd00::1", "fd00::3": "fd00::1"}),
        ("fd00::1",),
        "",
        "",
    ),
    "no ip on the host": (settings(1), Routes(), (ONE,), "", ""),
    "another's address": (
        settings(1),
        Routes(("198.51.100.99", "127.0.0.1"), {TWO: "198.51.100.99"}),
        (ONE,),
        f"no address {ONE}, on which etcd is to listen; it has 198.51.100.99",
        "member.address",
    ),
    "two addresses in a subnet, and the wrong one is used": (
        settings(1),
        Routes((ONE, "198.51.100.99"), {TWO: "198.51.100.99", THREE: "198.51.100.99"}),
        (ONE,),
        f"az-2 ({TWO}) and az-3 ({THREE}) come from 198.51.100.99",
        "set member.address to 198.51.100.99",
    ),
    "families mixed, and names of one": (
        MIXED,
        Routes(HAS, {TWO: ONE, THREE: ONE}),
        ("fd00::1",),
        f"come from {ONE}, and its certificate is for",
        f"lead to {ONE} too",
    ),
    "families mixed, and names of both": (MIXED, Routes(HAS, {TWO: ONE, THREE: ONE}), ("fd00::1", ONE), "", ""),
    "families mixed, and plain http between members": (
        six(settings(1, peer_tls=False), 1),
        Routes(HAS, {TWO: ONE, THREE: ONE}),
        ("fd00::1",),
        "",
        "",
    ),
    "no route": (
        settings(1),
        Routes(HAS, {TWO: ONE}, {THREE: "Network is unreachable"}),
        (ONE,),
        f"no route to az-3 ({THREE}): Network is unreachable",
        "one family",
    ),
}


@pytest.mark.parametrize(("host", "routes", "resolves", "says", "remedy"), SOURCES.values(), ids=SOURCES.keys())
def test_where_connections_come_from(
    host: HostSettings, routes: Routes, resolves: tuple[str, ...], says: str, remedy: str
) -> None:
    troubles = address_problems(host, routes, {host.member.fqdn: resolves})
    assert [says in trouble.what and remedy in trouble.remedy for trouble in troubles] == ([True] if says else []), (
        troubles
    )


IP = """1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
4: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever preferred_lft forever
5: ppp0    inet 192.0.2.9 peer 192.0.2.10/32 scope global ppp0
4: eth0    inet6 fd00::2/64 scope global nodad \\       valid_lft forever preferred_lft forever
= 192.0.2.3
192.0.2.3 dev eth0 src 192.0.2.2 uid 0\x20
    cache\x20
= fd00::3
fd00::3 from :: dev eth0 proto kernel src fd00::2 metric 256 pref medium
= 198.51.100.1
{unreachable}
"""


@pytest.mark.parametrize(
    "unreachable",
    ["RTNETLINK answers: Network is unreachable", "ip: RTNETLINK answers: Network is unreachable"],
    ids=["iproute2", "busybox"],
)
def test_routes_of_iproute2_and_busybox(unreachable: str) -> None:
    routes = read_routes(IP.format(unreachable=unreachable))
    assert routes.addresses == ("127.0.0.1", "192.0.2.2", "192.0.2.9", "fd00::2")
    assert routes.sources == {"192.0.2.3": "192.0.2.2", "fd00::3": "fd00::2"}
    assert routes.missing == {"198.51.100.1": "Network is unreachable"}
    assert read_routes("") == Routes()


def heard(**ports: str) -> Mapping[tuple[str, int], str]:
    """What somebody met at the ports of the first member: ``p2379="open"``."""
    return {(ONE, int(name[1:])): result for name, result in ports.items()}


ALL_OPEN = heard(p2379=OPEN, p2380=OPEN)
PORTS: dict[str, tuple[dict[str, Mapping[tuple[str, int], str]], bool, list[str]]] = {
    "open": ({"az-2": ALL_OPEN, "az-3": ALL_OPEN}, True, []),
    "nothing known": ({"az-2": {}}, True, []),
    "ufw: SSH alone gets in": (
        {"az-2": heard(p2379=TIME_OUT, p2380=TIME_OUT), "az-3": heard(p2379=TIME_OUT, p2380=TIME_OUT)},
        True,
        [f"ports 2379 and 2380 of {ONE} cannot be reached from az-2 and az-3: no answer"],
    ),
    "one port": ({"az-2": heard(p2379=OPEN, p2380=TIME_OUT)}, True, [f"TCP port 2380 of {ONE} cannot be reached"]),
    "one of the others": (
        {"az-2": ALL_OPEN, "az-3": heard(p2379=TIME_OUT, p2380=TIME_OUT)},
        True,
        ["from az-3: no answer"],
    ),
    "rejected, and somebody listens": ({"az-2": heard(p2379=REFUSED, p2380=OPEN)}, True, ["a firewall rejects it"]),
    "refused, and it is not known whether somebody listens": ({"az-2": heard(p2379=REFUSED, p2380=REFUSED)}, False, []),
    "dropped, and it is not known": ({"az-2": heard(p2379=TIME_OUT, p2380=TIME_OUT)}, False, ["a firewall drops it"]),
    "prohibited": ({"az-2": heard(p2380="No route to host")}, False, ["No route to host: a firewall rejects it"]),
    "this machine": ({reach.CONTROLLER: heard(p2379=TIME_OUT)}, True, ["from this machine: no answer"]),
    "members and this machine": (
        {"az-2": heard(p2379=TIME_OUT, p2380=TIME_OUT), reach.CONTROLLER: heard(p2379=TIME_OUT)},
        True,
        [f"TCP ports 2379 and 2380 of {ONE} cannot be reached from az-2: no answer"],
    ),
    "two reasons": (
        {"az-2": heard(p2379=TIME_OUT), "az-3": heard(p2379=REFUSED)},
        True,
        ["from az-2: no answer", "from az-3: refused"],
    ),
}


@pytest.mark.parametrize(("met", "listening", "says"), PORTS.values(), ids=PORTS.keys())
def test_ports_that_others_do_not_reach(
    met: Mapping[str, Mapping[tuple[str, int], str]], listening: bool, says: list[str]
) -> None:
    troubles = closed_ports(settings(1), met, listening=listening)
    assert len(troubles) == len(says)
    for trouble, words in zip(troubles, says, strict=True):
        assert words in trouble.what
        assert "/tcp" in trouble.remedy
        assert ("controller_reaches_members" in trouble.remedy) == ("this machine" in words)


@pytest.mark.parametrize(("address", "text"), [("127.0.0.1", "127.0.0.1:{port}"), ("::1", "[::1]:{port}")])
def test_a_port_that_cannot_be_reached_is_written_as_in_a_url(address: str, text: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as place:
        place.bind((address, 0))  # and nobody listens
        port = place.getsockname()[1]
        assert text.format(port=port) in look(address, port, name="x", trust_anchor=ca("root").pem).problem


@pytest.mark.parametrize(
    ("result", "meaning"),
    [
        ("open", OPEN),
        ("time-out", TIME_OUT),
        ("Connection refused", REFUSED),
        ("nc: 192.0.2.1 (192.0.2.1:2380): Connection refused", REFUSED),
        ("nc: 192.0.2.1 (192.0.2.1:2380): Operation timed out", TIME_OUT),
        ("nc: 192.0.2.1 (192.0.2.1:2380): Host is unreachable", "Host is unreachable"),
        ("No route to host", "No route to host"),
        ("", "no connection"),
    ],
)
def test_what_perl_and_busybox_say(result: str, meaning: str) -> None:
    assert read_heard(f"fd00::1,2380 {result}\nnoise\n") == {("fd00::1", 2380): meaning}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ports_are_opened_for_a_moment_and_connected_to(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        places = [stack.enter_context(socket.socket(family)) for _ in range(3)]
        for place in places:
            place.bind((address, 0))
        ports = [place.getsockname()[1] for place in places]
        for place in places[:2]:
            place.close()
        script = listen(address, ports[:2])
        with subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
            assert held.stdin
            assert held.stdout
            held.stdin.write(script)
            held.stdin.flush()
            assert held.stdout.readline().strip() == LISTENS
            asked = connect([(address, port) for port in ports])
            results = read_heard(LocalHost().run(asked).stdout)
            assert [results[address, port] for port in ports] == [OPEN, OPEN, REFUSED]
            held.stdin.close()  # as when the run, or its connection, ends
            assert held.wait(10) == 0
        with socket.create_server((address, ports[0]), family=family):
            pass


def test_a_port_that_cannot_be_opened_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        script = listen("127.0.0.1", [taken.getsockname()[1]])
        assert LocalHost().run(script).stdout == "failed\n"


# Proxies on the hosts.


def test_etcdctl_goes_past_a_proxy() -> None:
    assert "NO_PROXY='*'" in etcdctl(settings(), "endpoint health", ["https://a:2379"]).split(" etcdctl ")[0]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "a.test,b.test"),
        ({"NO_PROXY": "x"}, "x,a.test,b.test"),
        ({"https_proxy": "http://192.0.2.1"}, "a.test,b.test"),
        ({"https_proxy": "http://192.0.2.1", "no_proxy": "x"}, "x,a.test,b.test"),
        ({"HTTPS_PROXY": "http://192.0.2.1", "NO_PROXY": "x,y"}, "x,y,a.test,b.test"),
        ({"http_proxy": "http://192.0.2.1", "NO_PROXY": "*"}, "*"),
        ({"all_proxy": "http://192.0.2.1", "no_proxy": "*"}, ""),
        ({"https_proxy": "http://192.0.2.1", "NO_PROXY": "x,a.test,b.test"}, "x,a.test,b.test"),
    ],
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_login_shell_goes_past_a_proxy(shell: str, environment: Mapping[str, str], expected: str) -> None:
    script = past_proxies(["a.test", "b.test"])
    once, twice = f"{script}\n", f'{script}\n{script}\nprintf %s "${{NO_PROXY-}}"'
    done = subprocess.run(
        [shell, "-euc", once + twice], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True
    )
    assert (done.returncode, done.stderr, done.stdout.decode()) == (0, b"", expected)


def test_the_environment_of_a_client_goes_past_a_proxy(tmp_path: Path) -> None:
    files = ClientFiles(tmp_path, "alice")
    files.write(key="k", certificate="c", ca="a", endpoints=["https://a.test:2379"], about="x")
    script = f". {shlex.quote(str(files.environment))}; env"
    environment = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "NO_PROXY=a.test\n" in environment
    assert "no_proxy=a.test\n" in environment


# Proxies on this machine.

VAULT = "https://vault.test:8200"
PROXY = "http://user:secret@192.0.2.1:3130"
TUNNEL = "('Unable to connect to proxy', {}(…))"
CONTROLLERS: dict[str, tuple[dict[str, str], Exception | None, str, str]] = {
    "none": ({}, requests.ConnectionError("Connection refused"), "nothing listens at this address", "start Vault"),
    "nothing listens": (
        {"HTTPS_PROXY": PROXY},
        requests.exceptions.ProxyError(TUNNEL.format("NewConnectionError: Connection refused")),
        "through the proxy http://192.0.2.1:3130 (HTTPS_PROXY): nothing listens there",
        'export NO_PROXY="vault.test"',
    ),
    "it says no": (
        {"https_proxy": PROXY},
        requests.exceptions.ProxyError(TUNNEL.format("OSError('Tunnel connection failed: 403 Forbidden')")),
        "(https_proxy): it says 403 Forbidden",
        'export NO_PROXY="vault.test"',
    ),
    "its name": (
        {"HTTPS_PROXY": "http://proxy.test:3130"},
        requests.exceptions.ProxyError(TUNNEL.format("NameResolutionError: Failed to resolve 'proxy.test'")),
        "its name does not resolve",
        "correct HTTPS_PROXY",
    ),
    "some go past it already": (
        {"HTTPS_PROXY": PROXY, "no_proxy": "localhost"},
        requests.exceptions.ProxyError(TUNNEL.format("Connection refused")),
        "nothing listens there",
        'export no_proxy="$no_proxy,vault.test"',
    ),
    "the connection through it breaks": (
        {"ALL_PROXY": PROXY},
        requests.exceptions.ReadTimeout("Read timed out"),
        "(asked through the proxy http://192.0.2.1:3130 (ALL_PROXY))",
        "go past the proxy",
    ),
    "past it": (
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "vault.test"},
        requests.ConnectionError("Connection refused"),
        "nothing listens at this address",
        "start Vault",
    ),
}


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "error", "what", "remedy"), CONTROLLERS.values(), ids=CONTROLLERS.keys())
def test_a_proxy_between_this_machine_and_vault_is_named(
    variables: Mapping[str, str], error: Exception, what: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(requests.Session, "request", fails)
    connection = VaultConnection(VAULT)
    with pytest.raises(Broken) as caught:
        Transport(connection, retries=0).request("get", "sys/health", login=False)
    problem = meaning.broken(caught.value, connection)
    assert what in problem.what
    assert remedy in problem.remedy
    assert "secret" not in str(problem)


@pytest.mark.parametrize("body", ["<html>forbidden by squid</html>", ""])
def test_a_page_in_place_of_vaults_answer_is_the_proxys(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = 403, body.encode()
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: answer)
    monkeypatch.setenv("http_proxy", PROXY)
    with pytest.raises(Broken, match="403 in Vault's place"):
        Transport(VaultConnection("http://vault.test:8200"), retries=0).request("get", "sys/health", login=False)


def test_the_command_in_the_remedy_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("no_proxy", "localhost")
    proxy = proxy_for(VAULT)
    assert proxy
    done = subprocess.run(
        ["sh", "-c", f"{proxy.past}; printf %s $no_proxy"], capture_output=True, text=True, check=True
    )
    monkeypatch.setenv("no_proxy", done.stdout)
    assert proxy_for(VAULT) is None
