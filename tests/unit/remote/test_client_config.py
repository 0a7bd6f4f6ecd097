"""What the controller's own SSH set-up says about a host: the real ``ssh -G``, and paramiko's parser without it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nornir.core.configuration import Config
from nornir.core.inventory import ConnectionOptions, Defaults, Host
from nornir.core.plugins.connections import ConnectionPluginRegister

from etcdfleet.errors import RemoteError
from etcdfleet.remote import connect
from etcdfleet.remote.client_config import ClientConfig, at_home, client_config, from_answer
from etcdfleet.remote.proxy import expand, program
from etcdfleet.settings.config import FOLDER_KEY

SSH = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
HOST = ClientConfig("pi", "192.0.2.1", 22, "me")


def looked_up(tmp_path: Path, content: str | bytes, name: str = "pi", **given: Any) -> ClientConfig:
    file = tmp_path / "ssh_config"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return client_config(name, **{"port": None, "user": "", "file": file, **given})


@SSH
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Host pi\n HostName 192.0.2.1\n Port 2222\n User me\n", {"hostname": "192.0.2.1", "port": 2222, "user": "me"}),
        ("Host *\n ProxyJump none\n", {"proxy_jump": "", "proxied": False}),
        ("Host *\n ProxyCommand none\n", {"proxy_command": "", "proxied": False}),
        ("ProxyJump a,me@b:22\n", {"proxy_jump": "a,me@b:22", "proxied": True}),
        ("ProxyCommand nc %h %p\n", {"proxy_command": "nc %h %p", "proxied": True}),
        ("Match final all\n User x\n", {"user": "x"}),
        ("Host pi\r\n User x\r\n", {"user": "x"}),
        ('IdentityFile "~/a key"\nIdentityFile ~/b\n', {"identities": ("~/a key", "~/b")}),
        ("IdentitiesOnly yes\nIdentityAgent none\n", {"identities_only": True, "agent": "none"}),
        ("UserKnownHostsFile /x /y\n", {"user_known_hosts": ("/x", "/y")}),
        ("UserKnownHostsFile none\n", {"user_known_hosts": ()}),
        ("HostKeyAlias a\n", {"host_key_alias": "a"}),
        ("Host other\n User x\n", {"hostname": "pi", "port": 22}),
    ],
)
def test_ssh_says_how_a_host_is_reached(tmp_path: Path, content: str, expected: dict[str, object]) -> None:
    config = looked_up(tmp_path, content)
    assert {key: getattr(config, key) for key in expected} == expected


@SSH
def test_included_files_count_and_the_inventory_wins(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host pi\n HostName 192.0.2.1\n Port 2222\n User x\n")
    config = looked_up(tmp_path, f"Include {tmp_path}/mo*\n", port=2200, user="me")
    assert (config.hostname, config.port, config.user) == ("192.0.2.1", 2200, "me")


@SSH
@pytest.mark.parametrize(
    ("content", "line", "remedy"),
    [
        ("Host *\n User\n", "line 2", "correct that line"),
        ("\ufeffHost *\n User x\n", "line 1", "byte order mark"),
        ("Host *\n Frobnicate yes\n", "line 2", "ssh.config_file"),
    ],
)
def test_what_ssh_cannot_read_is_named_with_its_line(tmp_path: Path, content: str, line: str, remedy: str) -> None:
    with pytest.raises(RemoteError, match=line) as caught:
        looked_up(tmp_path, content)
    assert str(tmp_path / "ssh_config") in str(caught.value)
    assert remedy in caught.value.remedy


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="no such configuration file"):
        client_config("pi", port=None, user="", file=tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Host pi\n HostName 192.0.2.1\n Port 2222\n User me\n", {"hostname": "192.0.2.1", "port": 2222, "user": "me"}),
        ("\ufeffHost *\n ProxyJump none\n User x\n", {"proxied": False, "user": "x"}),
        ("Host *\n ProxyCommand none\n", {"proxied": False}),
        ("IdentityFile /a\nUserKnownHostsFile /x /y\n", {"identities": ("/a",), "user_known_hosts": ("/x", "/y")}),
        ("User x\nMatch final all\n User y\n", "line 2"),
        ("Host *\n User\n", "line 2"),
        ("Host *\nInclude conf.d/*\n", "line 2: Include"),
    ],
)
def test_without_openssh_paramiko_reads_what_it_can_and_names_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, expected: dict[str, object] | str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    if isinstance(expected, str):
        with pytest.raises(RemoteError, match=expected) as caught:
            looked_up(tmp_path, content)
        assert "openssh-client" in caught.value.remedy
        return
    config = looked_up(tmp_path, content)
    assert {key: getattr(config, key) for key in expected} == expected


def test_a_user_that_ssh_does_not_know_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\necho 'No user exists for uid 1234' >&2; exit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert looked_up(tmp_path, "Host pi\n HostName 192.0.2.1\n").hostname == "192.0.2.1"


@SSH
def test_a_home_of_its_own_has_its_own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host pi\n HostName 192.0.2.1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = client_config("pi", port=None, user="", file=None)
    assert (config.hostname, config.file) == ("192.0.2.1", str(tmp_path / ".ssh" / "config"))
    assert at_home(config.user_known_hosts[0]) == tmp_path / ".ssh" / "known_hosts"


@pytest.mark.parametrize(
    ("extras", "what"),
    [({"frobnicate": 1}, "unexpected keyword argument 'frobnicate'"), ({"key_file": "no/such"}, "{folder}/no/such")],
)
def test_wrong_options_of_the_inventory_are_said_to_be_there(tmp_path: Path, extras: dict[str, Any], what: str) -> None:
    ConnectionPluginRegister.auto_register()
    options = {"netmiko": ConnectionOptions(extras=extras)}
    host = Host("h", hostname="192.0.2.1", username="pi", defaults=Defaults(), connection_options=options)
    with pytest.raises(RemoteError) as caught:
        connect(host, Config(user_defined={FOLDER_KEY: str(tmp_path)}))
    assert what.format(folder=tmp_path) in caught.value.what
    assert caught.value.where == "inventory"


def test_what_ssh_leaves_out_has_its_default() -> None:
    config = from_answer("pi", "hostname pi\nport 22\nuser me\n")
    assert (config.identities, config.user_known_hosts, config.agent) == ((), (), "")


@pytest.mark.parametrize(
    ("jump", "argv"),
    [
        ("b", "ssh -o BatchMode=yes -o ConnectTimeout=10 -W [192.0.2.1]:22 -- ssh://b"),
        ("me@b:2222", "ssh -o BatchMode=yes -o ConnectTimeout=10 -W [192.0.2.1]:22 -- ssh://me@b:2222"),
        ("a,b,c", "ssh -o BatchMode=yes -o ConnectTimeout=10 -J a,b -W [192.0.2.1]:22 -- ssh://c"),
        ("ssh://b:23", "ssh -o BatchMode=yes -o ConnectTimeout=10 -W [192.0.2.1]:22 -- ssh://b:23"),
    ],
)
def test_bastions_are_left_to_ssh(jump: str, argv: str) -> None:
    command = program(replace(HOST, proxy_jump=jump), 10)
    assert " ".join(command.argv) == argv
    assert " ".join(program(replace(HOST, proxy_jump=jump, file="/c"), 10).argv) == argv.replace("ssh", "ssh -F /c", 1)


def test_tokens_of_a_proxy_command(tmp_path: Path) -> None:
    assert expand("nc %h %p %r %n %% %k %z", HOST) == "nc 192.0.2.1 22 me pi % pi %z"
    assert expand("100%", HOST) == "100%"
    command = program(replace(HOST, proxy_command=f"{tmp_path}/nc %h"), 10)
    assert command.argv[1:] == ("-c", f"exec {tmp_path}/nc 192.0.2.1")
    assert command.name == f"{tmp_path}/nc"
