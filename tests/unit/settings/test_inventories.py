"""Inventories as people write them who know Ansible, YAML 1.1 or a word processor: the next case is one row.

Each text is read by our own checks and, where it is sound, by Nornir: the two must not differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from etcdfleet.settings.fleet import Fleet
from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import Problem, SettingsError

HOST = """\
{name}:
  hostname: 192.0.2.{number}
  groups: [home, systemd]
  data:
    member: {{fqdn: {name}.home.test, address: 192.0.2.{number}}}
"""
FILES: Mapping[str, str] = {
    "config.yaml": "inventory:\n  options: {host_file: hosts.yaml, group_file: groups.yaml, "
    "defaults_file: defaults.yaml}\n",
    "hosts.yaml": "".join(HOST.format(name=name, number=number) for number, name in enumerate("abc", 1)),
    "groups.yaml": "systemd:\n  username: pi\n  data: {install: {method: apt}}\nhome:\n  data:\n    cluster:\n"
    "      token: home\n",
    "defaults.yaml": "port: 22\nconnection_options:\n  netmiko:\n    extras: {key_file: key}\ndata:\n  pki:\n"
    "    address: https://vault.test:8200\n",
}


@pytest.fixture(autouse=True)
def _no_vault_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    monkeypatch.chdir(tmp_path)


def opened(folder: Path, file: str, old: str, new: str) -> Fleet:
    for name, text in FILES.items():
        assert name != file or old in text
        (folder / name).write_text(text.replace(old, new, 1) if name == file else text, encoding="utf-8")
    return open_nornir(folder / "config.yaml")[1]


@dataclass(frozen=True)
class Row:
    """In ``file``, ``old`` is written as ``new``; what must be said, at which key, and on the line with ``line``."""

    file: str
    old: str
    new: str
    key: str
    what: str
    remedy: str
    line: str = ""


ADDRESS, HOSTNAME = "address: 192.0.2.2}", "hostname: 192.0.2.2"
FQDN, TOKEN = "fqdn: b.home.test", "token: home"


def hosts(old: str, new: str, key: str, what: str, remedy: str, line: str = "") -> Row:
    return Row("hosts.yaml", old, new, key, what, remedy, line)


def groups(old: str, new: str, key: str, what: str, remedy: str, line: str = "") -> Row:
    return Row("groups.yaml", old, new, key, what, remedy, line)


def defaults(old: str, new: str, key: str, what: str, remedy: str, line: str = "") -> Row:
    return Row("defaults.yaml", old, new, key, what, remedy, line)


ROWS = {
    # Ansible's
    "template": groups(TOKEN, "token: {{ cluster_token }}", "cluster.token", "is a template", "write the value itself"),
    "template in quotes": groups(TOKEN, 'token: "{{ token }}"', "cluster.token", "is a template", "in their group"),
    "template with more": groups(TOKEN, "token: {{ token }}-1", "token", "is a template", "write the value itself"),
    "template statement": groups(TOKEN, "token: {% if x %}", "token", "is a template", "write the value itself"),
    "template as hostname": hosts(HOSTNAME, "hostname: {{ ip }}", "hostname", "is a template", "write the value"),
    "template as hostname in quotes": hosts(HOSTNAME, "hostname: '{{ ip }}'", "hostname", "is a template", "write"),
    "template of a user": groups("username: pi", "username: '{{ user }}'", "username", "is a template", "write"),
    "template of a password": groups("username: pi", "password: '{{ pw }}'", "password", "is a template", "write"),
    "template of a key file": defaults(
        "key_file: key", "key_file: {{ key }}", "connection_options.netmiko.extras.key_file", "is a template", "write"
    ),
    "template of a key file in quotes": defaults(
        "key_file: key", "key_file: '{{ key }}'", "connection_options.netmiko.extras.key_file", "is a template", "write"
    ),
    "port of a connection": defaults(
        "extras: {", "port: '22'\n    extras: {", "connection_options.netmiko.port", "a whole number", "digits alone"
    ),
    "blank at the end of a key file": defaults(
        "key_file: key", "key_file: 'key '", "connection_options.netmiko.extras.key_file", "has a blank", "remove it"
    ),
    "template of an own value": hosts(
        "member: {fqdn: b", "rack: {{ rack }}\n    member: {fqdn: b", "rack", "is a template", "write the value itself"
    ),
    "template as a name": hosts("b:\n", '"{{ b }}":\n', "", "is a template", "write the value itself"),
    "vault": groups(
        "username: pi",
        "password: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    3132",
        "password",
        "is encrypted by ansible-vault",
        "ETCDFLEET_SUDO_PASSWORD",
        "!vault",
    ),
    "vault in data": groups(TOKEN, "token: !vault x", "cluster.token", "ansible-vault", "no secret belongs"),
    "another tag": groups(TOKEN, "token: !lookup x", "cluster.token", "the tag !lookup", "remove !lookup"),
    "a tag of Python": groups(TOKEN, "token: !!python/name:x y", "cluster.token", "tag !!python/name:x", "remove"),
    "a tag that does not fit": groups(TOKEN, "token: !!int x", "cluster.token", "cannot be read as int", "quotes"),
    "ansible_host": hosts(HOSTNAME, "ansible_host: 192.0.2.2", "ansible_host", "a word of Ansible's", "write hostname"),
    "vars": groups("  username: pi\n", "  vars: {a: 1}\n", "vars", "a word of Ansible's", "write data:"),
    # tabs
    "tab after a colon": hosts(HOSTNAME, "hostname:\t192.0.2.2", "hostname", "has a tab", "blanks", "hostname:\t"),
    "tab at the end": hosts(HOSTNAME, f"{HOSTNAME}\t", "hostname", "has a tab", "replace each tab", "192.0.2.2\t"),
    "tab in front": groups("      token", "\ttoken", "token", "has a tab", "blanks", "\ttoken"),
    # numbers and texts
    "port with a colon": defaults("port: 22", "port: 22:11", "port", "a whole number, not '22:11'", "digits alone"),
    "port in quotes": defaults("port: 22", 'port: "22"', "port", "a whole number, not '22'", "without quotes"),
    "port out of range": defaults("port: 22", "port: 70000", "port", "70000 is no port", "1 to 65535"),
    "port as true": defaults("port: 22", "port: true", "port", "a whole number, not True", "digits alone"),
    "hostname as a number": hosts(HOSTNAME, "hostname: 1.2", "hostname", "must be text", "in quotes"),
    "user as a number": groups("username: pi", "username: 1000", "username", "must be text", "in quotes"),
    "password of digits": groups("username: pi", "password: 01234", "password", "must be text", "in quotes"),
    "a date": groups(TOKEN, "token: 2026-01-31", "cluster.token", "must be text, not", "in quotes"),
    "octal": groups(TOKEN, "token: 0o17", "cluster.token", "must be text, not 15", "in quotes"),
    "equals sign": groups(TOKEN, "token: =", "cluster.token", "a meaning of its own", 'in quotes: "="'),
    "percent": groups(TOKEN, "token: %x", "token", "is not valid YAML", "in quotes", "%x"),
    "two colons": groups(TOKEN, "token: a: b", "token", "is not valid YAML", "in quotes", "a: b"),
    # blanks
    "blank at the end of a hostname": hosts(HOSTNAME, 'hostname: "192.0.2.2 "', "hostname", "has a blank", "remove it"),
    "blank at the end of an FQDN": hosts(FQDN, 'fqdn: "b.home.test "', "member.fqdn", "has a blank", "remove it"),
    "blank before an address": hosts(ADDRESS, 'address: " 192.0.2.2"}', "member.address", "has a blank", "remove it"),
    "blank in the middle": hosts(HOSTNAME, "hostname: my pi", "hostname", "neither a name nor", "alone"),
    "blank that does not break": hosts(FQDN, "fqdn: b.home.test\u00a0", "member.fqdn", "has a blank", "remove it"),
    "invisible character": hosts(FQDN, "fqdn: b.\u200bhome.test", "member.fqdn", "U+200B (zero width space)", "anew"),
    "blank at the end of a user": groups("username: pi", "username: 'pi '", "username", "has a blank", "remove it"),
    "blank at the end of a name": hosts("b:\n", '"b ":\n', "", "has a blank", "remove it"),
    # addresses
    "leading zeros": hosts(
        ADDRESS, "address: 192.0.2.002}", "member.address", "leading zeros", "write it without: 192.0.2.2"
    ),
    "leading zeros for SSH": hosts(HOSTNAME, "hostname: 192.0.2.002", "hostname", "leading zeros", "192.0.2.2"),
    "number too large": hosts(ADDRESS, "address: 192.0.2.256}", "member.address", "above 255", "correct it"),
    "brackets": hosts(ADDRESS, "address: [fd00::2]}", "member.address", "make a list of it", '"fd00::2"'),
    "brackets in quotes": hosts(ADDRESS, 'address: "[fd00::2]"}', "member.address", "square brackets", '"fd00::2"'),
    "brackets for SSH": hosts(HOSTNAME, "hostname: [fd00::2]", "hostname", "make a list of it", '"fd00::2"'),
    "brackets in quotes for SSH": hosts(HOSTNAME, 'hostname: "[fd00::2]"', "hostname", "square brackets", '"fd00::2"'),
    "network": hosts(ADDRESS, "address: 192.0.2.2/24}", "member.address", "is a network", "alone: 192.0.2.2"),
    "network of IPv6": hosts(ADDRESS, "address: fd00::2/64}", "member.address", "is a network", "alone: fd00::2"),
    "address with a port": hosts(ADDRESS, "address: 192.0.2.2:2380}", "member.address", "a port in it", "192.0.2.2"),
    "hostname with a port": hosts(HOSTNAME, "hostname: pi-2:2222", "hostname", "has a port", "port: 2222"),
    "hostname with a user": hosts(HOSTNAME, "hostname: pi@pi-2", "hostname", "has a user", "username: pi"),
    # keys
    "key twice in options": defaults(
        "key_file: key",
        "key_file: key, key_file: other",
        "connection_options.netmiko.extras.key_file",
        "is written twice",
        "remove one",
    ),
    "key twice in data": groups(
        TOKEN, "token: home\n      token: b", "cluster.token", "is written twice", "remove one", "token: b"
    ),
    "list as a key": groups(TOKEN, "? [a, b]\n      : c", "cluster", "a list or a mapping as a key", "a word", "? ["),
    "merge of nothing": groups(TOKEN, "<<: home", "cluster.<<", "here is none", "<<: *NAME"),
    "alias of what it is in": groups(
        "data:\n    cluster:\n",
        "data: &x\n    y: *x\n    cluster:\n",
        "y",
        "an alias of what it is in",
        "write",
        "y: *x",
    ),
    "unknown alias": groups(TOKEN, "token: *home", "token", "undefined alias", "quotes"),
    "another version of YAML": groups(
        "systemd:", "%YAML 1.3\n---\nsystemd:", "", "not valid YAML", "remove", "systemd"
    ),
    # config.yaml
    "template in config.yaml": Row(
        "config.yaml", "host_file: hosts.yaml", "host_file: {{ x }}", "inventory.options.host_file", "is a template", ""
    ),
    "tab in config.yaml": Row("config.yaml", "options: {", "options:\t{", "options", "has a tab", "blanks"),
}


def mistakes(folder: Path, row: Row) -> tuple[Problem, ...]:
    try:
        opened(folder, row.file, row.old, row.new)
    except SettingsError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_mistake_has_file_line_key_and_a_remedy(row: Row, tmp_path: Path) -> None:
    found = mistakes(tmp_path, row)

    assert [problem.key for problem in found] == [row.key], found
    assert row.what in found[0].what
    assert row.remedy in found[0].remedy
    assert found[0].remedy
    file, _, number = found[0].file.partition(":")
    assert file == row.file
    if row.key or number:
        line = (tmp_path / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert (row.line or row.new.split("\n")[0]) in line
    assert "$ANSIBLE_VAULT" not in str(found[0])


SOUND = {
    "as it is": ("hosts.yaml", "b:", "b:"),
    "byte order mark": ("hosts.yaml", "a:", "\ufeffa:"),
    "start of a document": ("groups.yaml", "systemd:", "---\nsystemd:"),
    "windows line ends": ("groups.yaml", "systemd:\n", "systemd:\r\n"),
    "host called no": ("hosts.yaml", "b:\n", "no:\n"),
    "host called 1.2.3": ("hosts.yaml", "b:\n", "1.2.3:\n"),
    "leading zero of a port": ("defaults.yaml", "port: 22", "port: 022"),
    "alias of ssh_config": ("hosts.yaml", HOSTNAME, "hostname: pi_two"),
    "address of IPv6 for SSH": ("hosts.yaml", HOSTNAME, "hostname: fd00::2"),
    "address with a zone for SSH": ("hosts.yaml", HOSTNAME, "hostname: fe80::2%eth0"),
    "blank at the end of a password": ("groups.yaml", "username: pi", "password: 'x '"),
    "own values are free": ("hosts.yaml", "data:\n    member: {fqdn: b", "data:\n    a: ' b '\n    member: {fqdn: b"),
    "merge of a mapping": ("groups.yaml", "home:\n  data:", "pi: &pi {username: pi}\nhome:\n  <<: *pi\n  data:"),
    "key of etcd": (
        "defaults.yaml",
        "data:\n",
        "data:\n  auth: {roles: {app: [{prefix: '{{x}} ', access: read}]}}\n",
    ),
}


@pytest.mark.parametrize(("file", "old", "new"), SOUND.values(), ids=SOUND.keys())
def test_what_is_sound_is_read_by_nornir_too(file: str, old: str, new: str, tmp_path: Path) -> None:
    assert len(opened(tmp_path, file, old, new).hosts) == 3


def test_an_inventory_in_another_encoding(tmp_path: Path) -> None:
    opened(tmp_path, "hosts.yaml", "b:", "b:")
    (tmp_path / "hosts.yaml").write_text(FILES["hosts.yaml"] + "# Küche\n", encoding="latin-1")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        open_nornir(tmp_path / "config.yaml")
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("options: {", "options: {encoding: latin-1, "))
    assert len(open_nornir(config)[1].hosts) == 3
    config.write_text(config.read_text().replace("latin-1", "latin-77"))
    with pytest.raises(SettingsError, match="'latin-77' is unknown to Python"):
        open_nornir(config)
