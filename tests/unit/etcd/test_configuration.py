"""What a change of etcd's configuration file means."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.configuration import anchors_in, needs_restart, state_in

FILE = b"""# a comment
name: a
initial-cluster: a=https://a:2380
initial-cluster-token: t
initial-cluster-state: new
peer-transport-security:
  cert-file: /x
"""


@pytest.mark.parametrize(
    ("old", "new", "restart"),
    [
        (b"# a comment", b"# another", False),
        (b"initial-cluster-state: new", b"initial-cluster-state: existing", False),
        (b"a=https://a:2380", b"a=https://a:2380,b=https://b:2380", False),
        (b"token: t", b"token: u", False),
        (b"name: a", b"name: 'a'", False),
        (b"name: a", b"name: b", True),
        (b"cert-file: /x", b"cert-file: /y", True),
        (b"name: a", b"name: a\nquota-backend-bytes: 1", True),
        (b"name: a\n", b"", True),
        (b"name: a", b"name: [", True),
        (FILE, b"just text", True),
    ],
)
def test_only_what_a_running_etcd_would_read_asks_for_a_restart(old: bytes, new: bytes, restart: bool) -> None:
    changed = FILE.replace(old, new)
    assert changed != FILE
    assert needs_restart(FILE, changed) is restart
    assert needs_restart(changed, FILE) is restart


@pytest.mark.parametrize(
    ("content", "state"),
    [(FILE, "new"), (b"initial-cluster-state: existing", "existing"), (b"a: b", None), (b"[", None), (None, None)],
)
def test_the_state_in_a_file(content: bytes | None, state: str | None) -> None:
    assert state_in(content) == state


NAMED = b"client-transport-security: {trusted-ca-file: /etc/etcd/certs/clientCA.pem}\n"


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        (b"name: a\n", {}),
        (b"\xef\xbb\xbf" + NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        (b"peer-transport-security:\nclient-transport-security: {trusted-ca-file: }\n", {}),
        (b"peer-transport-security: {auto-tls: true}\n" + NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        # No etcd starts with these.
        (None, None),
        (b"", None),
        (b"# nothing but a comment\n", None),
        (b"\0" * 512, None),
        (NAMED + b"# \xff\xfe\n", None),
        (b"- name: a\n", None),
        (b"a: [\n", None),
        (b"a: " + b"[" * 3000, None),
        (NAMED + b"x: 2001-13-45\n", None),
        (NAMED + b"x: !unknown 1\n", None),
        (NAMED + b"---\nname: a\n", None),
        (NAMED + b"peer-transport-security: text\n", None),
        (NAMED + b"peer-transport-security: [a]\n", None),
        (NAMED + b"peer-transport-security: {trusted-ca-file: 7}\n", None),
    ],
)
def test_a_file_that_no_etcd_starts_with_is_not_taken_for_one_without_anchors(
    content: bytes | None, files: dict[str, str] | None
) -> None:
    assert anchors_in(content) == files
