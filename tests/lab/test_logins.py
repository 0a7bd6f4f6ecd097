"""Logging in to real hosts as people do: agent, default keys, their own ssh configuration, bastions, known_hosts, sudo.

Each row of `CASES` is one set-up of a controller and what must come of it; the next case is one more row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nornir.core.configuration import Config, SSHConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Host
from nornir.core.plugins.connections import ConnectionPluginRegister

from etcdfleet.errors import RemoteError
from etcdfleet.remote import connect
from lab.state import LabHost
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import FILES, deploy, inventory_variant

ONE_SESSION, CERTIFIED = 2201, 2202
"""Ports of more sshd's on the target: MaxSessions 1, and a certificate of its key by an authority."""
PASSPHRASE = "sesame"
SUDOERS = "lg-tty ALL=(ALL) NOPASSWD: ALL\nDefaults:lg-tty requiretty\nlg-old ALL=(ALL) NOPASSWD: ALL\n"
DOAS = "permit nopass lg-doas as root\npermit lg-asks as root\n"
USERS = ("lg-tty", "lg-none", "lg-old", "lg-nologin", "lg-doas", "lg-asks")


@dataclass(frozen=True)
class Site:
    """Two hosts (a target, and a bastion), and keys. ``words`` are what the rows of the table may name."""

    handle: LabHandle
    target: LabHost
    bastion: LabHost
    keys: Path
    words: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Case:
    """A controller: files of its home with their content (a key's name for a key), and what comes of a login.

    ``what`` and ``remedy`` are empty where it succeeds.
    """

    name: str
    what: str = ""
    remedy: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    agent: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    host: str = "{target}"
    port: int | None = None
    user: str = "pi"
    ssh_config: str = "~/.ssh/config"
    sudo: str = ""
    sessions: int = 0


KEY = {".ssh/id_ed25519": "plain"}
ALIAS = "Host etcdpi\n HostName {target}\n"
JUMP = (
    "Host hop\n HostName {bastion}\n User pi\n IdentityFile {keys}/plain\n UserKnownHostsFile {home}/.ssh/known_hosts\n"
)


def config(text: str, **more: str) -> dict[str, str]:
    return {**KEY, ".ssh/config": text, **more}


def known(text: str) -> dict[str, str]:
    return {**KEY, ".ssh/known_hosts": text}


CASES = [
    # Keys
    Case("default key", files=KEY),
    Case("agent alone", agent=("plain",)),
    Case("agent has the key with the passphrase", files={".ssh/id_ed25519": "locked"}, agent=("locked",)),
    Case("agent, and key_file with a passphrase", files={"k": "locked"}, agent=("locked",), extras={"key_file": "k"}),
    Case("no key at all", "there is no key to offer", "ssh-add"),
    Case("passphrase", "has a passphrase", "ssh-add {home}/.ssh/id_ed25519", {".ssh/id_ed25519": "locked"}),
    Case("PKCS#8", files={".ssh/id_ed25519": "pkcs8"}),
    Case("PuTTY", "is a PuTTY key", "puttygen {home}/k.ppk", {"k.ppk": "putty"}, extras={"key_file": "k.ppk"}),
    Case("another key", "offered: {home}/.ssh/id_ed25519", "-l pi {target} true", {".ssh/id_ed25519": "other"}),
    Case("relative key_file", files={"keys/k": "plain"}, extras={"key_file": "keys/k"}),
    Case("missing key_file", "{home}/keys/k does not exist", "starts at {home}", extras={"key_file": "keys/k"}),
    Case(
        "the agent's key by its public half, and no other",
        files=config("IdentitiesOnly yes\nIdentityFile {keys}/plain.pub\n", **{".ssh/id_ed25519": "other"}),
        agent=("other", "plain"),
    ),
    # ~/.ssh/config and its likes
    Case("alias", files=config(ALIAS), host="etcdpi"),
    Case("alias in an included file", files=config("Include {home}/more*\n", more1=ALIAS), host="etcdpi"),
    Case("file of config.yaml", files={**KEY, "mine": ALIAS}, host="etcdpi", ssh_config="{home}/mine"),
    Case("file of one host", files={**KEY, "mine": ALIAS}, host="etcdpi", extras={"ssh_config_file": "mine"}),
    Case("Match final", files=config("Match final all\n User pi\n"), user=""),
    Case("byte order mark", "line 1", "byte order mark", config("\ufeffHost *\n User pi\n")),
    Case("keyword without a value", "line 2", "correct that line", config("Host *\n User\n")),
    # Bastions
    Case("ProxyJump none", files=config("Host *\n ProxyJump none\n")),
    Case("ProxyCommand none", files=config("Host *\n ProxyCommand none\n")),
    Case("bastion", files=config(JUMP + "Host {target}\n ProxyJump hop\n")),
    Case(
        "two bastions",
        files=config(
            JUMP + "Host hop2\n HostName {bastion}\n User pi\n IdentityFile {keys}/plain\n"
            " UserKnownHostsFile {home}/.ssh/known_hosts\nHost {target}\n ProxyJump hop,hop2\n"
        ),
    ),
    Case("ProxyCommand", files=config(JUMP + "Host {target}\n ProxyCommand ssh -F {home}/.ssh/config -W %h:%p hop\n")),
    Case(
        "unknown bastion",
        "the bastion nosuch.invalid (ProxyJump in {home}/.ssh/config) cannot be used: ssh: Could not resolve",
        "nosuch.invalid true",
        config("Host {target}\n ProxyJump nosuch.invalid\n"),
    ),
    Case(
        "dead bastion",
        "Connection refused",
        " hop true",
        config("Host hop\n HostName {bastion}\n Port 9\nHost {target}\n ProxyJump hop\n"),
    ),
    Case(
        "bastion leads nowhere",
        "does not get through to this host: channel 0: open failed",
        "AllowTcpForwarding",
        config(JUMP + "Host {target}\n ProxyJump hop\n"),
        port=9,
    ),
    Case(
        "ProxyCommand fails",
        "makes no connection: ls: ",
        "it is: ls /no/such",
        config("Host {target}\n ProxyCommand ls /no/such\n"),
    ),
    # known_hosts
    Case("authority beside the key", files=known("@cert-authority * {ca}\n{known}")),
    Case("damaged lines", files=known("# \udcfc\nhalf ssh-ed25519\n{target} ssh-ed25519 AAAA\n{known}")),
    Case(
        "nothing but a damaged line",
        "known_hosts:1 is for it, and cannot be read",
        "ssh-keyscan",
        known("{target} ssh-ed25519 AAAA\n"),
    ),
    Case(
        "revoked",
        "is revoked by {home}/.ssh/known_hosts:2",
        "ssh-keygen -A",
        known("{target} {hostkey}\n@revoked * {hostkey}\n"),
    ),
    Case("unknown", "key is unknown", "ssh-keyscan -p 22 {target} >> {home}/.ssh/known_hosts", known("")),
    Case("changed", "known_hosts:1 has another ssh-ed25519 key", "-R {target}", known("{target} {ca}\n")),
    Case("certificate", files=known("@cert-authority * {ca}\n"), port=CERTIFIED),
    Case(
        "certificate of nobody known",
        "none of the authorities",
        "ssh-keygen -s CA",
        known("@cert-authority * {hostkey}\n"),
        port=CERTIFIED,
    ),
    Case(
        "UserKnownHostsFile",
        files={**config("UserKnownHostsFile {home}/mine\n"), ".ssh/known_hosts": "", "mine": "{known}"},
    ),
    # sshd
    Case(
        "MaxSessions 1", files={**KEY, ".ssh/known_hosts": "[{target}]:2201 {hostkey}\n"}, port=ONE_SESSION, sessions=3
    ),
    # root
    Case("requiretty", "you must have a tty", "Defaults:lg-tty !requiretty", KEY, user="lg-tty"),
    Case("sudo wants a password", "a password is required", "ETCDFLEET_SUDO_PASSWORD", KEY, user="lg-none"),
    Case(
        "not in sudoers", "lg-none is not in the sudoers file", "usermod -aG sudo", KEY, user="lg-none", sudo=PASSPHRASE
    ),
    Case(
        "one wrong password, not three",
        "sudo: 1 incorrect password attempt",
        "check ETC",
        KEY,
        user="lg-none",
        sudo="x",
    ),
    Case("expired password", "Your password has expired", "passwd", KEY, user="lg-old"),
    Case("doas, where sudo refuses", files=KEY, user="lg-doas"),
    Case("doas wants a password", "doas: Authentication required", "ETCDFLEET_SUDO_PASSWORD", KEY, user="lg-asks"),
    Case("no login shell", "currently not available", "nologin", KEY, user="lg-nologin"),
]


@pytest.fixture(scope="module")
def site(sight: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The session's lab, with some users and two more sshd's on a Debian host for as long as these tests take."""
    bastion, target, *_ = (host for host in sight.plan.hosts if host.kind == "debian")
    keys = _keys(tmp_path_factory.mktemp("keys"), sight.dir / "id_ed25519")
    hostkey = sight.exec(target.name, "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.strip()
    (keys / "host.pub").write_text(hostkey + "\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", keys / "ca", "-I", "it", "-h", "-n", target.address, keys / "host.pub"], check=True
    )
    sight.exec(target.name, _prepare((keys / "host-cert.pub").read_text()))
    words = {
        "target": target.address,
        "bastion": bastion.address,
        "keys": str(keys),
        "known": (sight.dir / "known_hosts").read_text(),
        "hostkey": " ".join(hostkey.split()[:2]),
        "ca": " ".join((keys / "ca.pub").read_text().split()[:2]),
    }
    yield Site(sight, target, bastion, keys, words)
    users = "; ".join(f"userdel -rf {user}" for user in USERS)
    doas = "rm -f /etc/doas.conf; apt-get purge -y opendoas"
    sight.exec(
        target.name, f"kill $(cat /run/lg-*.pid); rm -rf /run/lg-* /etc/sudoers.d/lg; {doas}; {users}", check=False
    )


def _keys(folder: Path, own: Path) -> Path:
    """The lab's own key in several forms, another one, and an authority for host keys."""
    from cryptography.hazmat.primitives import serialization as form

    for name in ("plain", "locked"):
        shutil.copy(own, folder / name)
        shutil.copy(own.with_suffix(".pub"), folder / f"{name}.pub")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", folder / "locked"], check=True)
    key = form.load_ssh_private_key(own.read_bytes(), None)
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (folder / "pkcs8").write_bytes(pem)
    (folder / "putty").write_text("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n")
    for name in ("other", "ca"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return folder


def _prepare(certificate: str) -> str:
    script = ["set -e", f"printf %s '{SUDOERS}' >/etc/sudoers.d/lg", f"echo '{certificate.strip()}' >/run/lg-cert.pub"]
    for user in USERS:
        shell = "/usr/sbin/nologin" if user == "lg-nologin" else "/bin/sh"
        script += [f"useradd -m -s {shell} {user}", f"install -d -o {user} -m 700 /home/{user}/.ssh"]
        script += [f"install -o {user} -m 600 /home/pi/.ssh/authorized_keys /home/{user}/.ssh/"]
        script += [f"echo {user}:{PASSPHRASE} | chpasswd"]
    script += ["chage -d 0 lg-old", "apt-get install -qq -y --no-install-recommends opendoas >/dev/null"]
    script += [f"printf %s '{DOAS}' >/etc/doas.conf"]
    for port, line in ((ONE_SESSION, "MaxSessions 1"), (CERTIFIED, "HostCertificate /run/lg-cert.pub")):
        script += [f"/usr/sbin/sshd -p {port} -o 'PidFile /run/lg-{port}.pid' -o '{line}'"]
    return "\n".join(script)


@contextmanager
def controller(site: Site, case: Case, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The home of somebody with these files and this agent; gives the words for expectations."""
    words = {**site.words, "home": str(home)}
    files = {".ssh/known_hosts": "{known}", **case.files}
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if "\n" not in content and (site.keys / content).is_file():
            shutil.copy(site.keys / content, home / name)
        else:
            (home / name).write_bytes(content.format(**words).encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("ETCDFLEET_SUDO_PASSWORD", raising=False)
    if case.sudo:
        monkeypatch.setenv("ETCDFLEET_SUDO_PASSWORD", case.sudo)
    if not case.agent:
        yield words
        return
    with agent(home / "agent", [site.keys / name for name in case.agent]) as where:
        monkeypatch.setenv("SSH_AUTH_SOCK", where)
        yield words


@contextmanager
def agent(where: Path, keys: list[Path]) -> Iterator[str]:
    """An ssh-agent with some keys, at a socket of its own."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(where)], stdout=subprocess.DEVNULL)
    try:
        answer = where.with_suffix(".ask")
        answer.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
        answer.chmod(0o700)
        ask = {"SSH_AUTH_SOCK": str(where), "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
        wait = 'until [ -S "$SSH_AUTH_SOCK" ]; do sleep 0.02; done; exec ssh-add -q "$@"'
        argv = ["sh", "-c", wait, "sh", *map(str, keys)]
        subprocess.run(argv, env={**os.environ, **ask}, timeout=20, check=True, capture_output=True)
        yield str(where)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_login(site: Site, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login from such a controller succeeds, or is told with its cause and what helps."""
    ConnectionPluginRegister.auto_register()
    with controller(site, case, tmp_path, monkeypatch) as words:
        named = str(Path(case.ssh_config.format(**words)).expanduser())
        options = Config(ssh=SSHConfig(config_file=named), user_defined={"config_folder": str(tmp_path)})
        name, netmiko = case.host.format(**words), ConnectionOptions(extras=dict(case.extras))
        host = Host("h", hostname=name, port=case.port, username=case.user, defaults=Defaults(),
                    connection_options={"netmiko": netmiko})  # fmt: skip
        failed = None
        try:
            remote = connect(host, options)
            held = [remote.hold("echo held\ncat >/dev/null\n") for _ in range(case.sessions)]
            assert remote.run("id -un").text == "root"
            for each in held:
                each.release()
        except RemoteError as error:
            failed = error
        finally:
            host.close_connections()
    text = f"{failed.where}: {failed.what}" if failed else ""
    assert case.what.format(**words) in text
    assert bool(text) == bool(case.what), text
    assert case.remedy.format(**words) in (failed.remedy if failed else "")


def test_many_hosts_behind_one_bastion(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More logins at once than the bastion's sshd takes (MaxStartups 10, then by chance): all of them succeed."""
    ConnectionPluginRegister.auto_register()
    case = Case("", files=config(JUMP + "Host {target}\n ProxyJump hop\n"))
    with controller(site, case, tmp_path, monkeypatch):
        options = Config(ssh=SSHConfig(config_file=str(tmp_path / ".ssh/config")))

        def login(number: int) -> str:
            host = Host(f"h{number}", hostname=site.target.address, username="pi", defaults=Defaults())
            try:
                return connect(host, options).run("id -un").text
            finally:
                host.close_connections()

        with ThreadPoolExecutor(24) as workers:
            assert set(workers.map(login, range(24))) == {"root"}


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(
            False,
            marks=pytest.mark.thorough(
                "lab/test_logins.py::test_a_whole_run_with_an_ordinary_ssh_set_up", "lab/test_logins.py::test_login"
            ),
        ),
        True,
    ],
    ids=["agent", "through a bastion"],
)
def test_a_whole_run_with_an_ordinary_ssh_set_up(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: bool
) -> None:
    """README's "Your own Pis": the key is in the agent, the inventory says nothing about SSH, known_hosts is one's own.

    Once more with all but the bastion behind it: their direct way is never taken, as their port 22 is another name's.
    """

    def plain(files: dict[str, Any]) -> None:
        del files[FILES[1]]["connection_options"]
        for host in files[FILES[3]].values():
            if jump and host["hostname"] != site.bastion.address:
                host["hostname"] = f"far-{host['hostname']}"

    far = "".join(
        f"Host far-{host.address}\n HostName {host.address}\n ProxyJump hop\n" for host in site.handle.plan.hosts
    )
    files = {".ssh/config": JUMP.replace(" IdentityFile {keys}/plain\n", "") + far} if jump else {}
    files[".ssh/known_hosts"] = "half ssh-ed25519\n{known}"
    with controller(site, Case("", files=files, agent=("plain",)), tmp_path, monkeypatch):
        environment = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": os.environ["SSH_AUTH_SOCK"]}
        config_file = inventory_variant(site.handle, tmp_path, plain)
        done = deploy(site.handle, "--cluster", str(site.target.cluster), config=config_file, env=environment)
    assert done.exit_code == 0, done.text
    assert site.target.name in done.report["hosts"]
    told = [warning["place"] for warning in done.report["warnings"] if "known_hosts:1 (" in warning["text"]]
    assert sorted(told) == sorted(done.report["hosts"])
