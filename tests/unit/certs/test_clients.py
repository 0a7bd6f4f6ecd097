"""What clients know members by: those that a change of CA cuts off, and the file that works all the way through."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.certs import Certificate, MemberTrust, parse_pem_bundle
from etcdfleet.certs.clients import client_anchors, cut_off
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import NOW, Made

OLD_ROOT, NEW_ROOT = certs_ca.ca("Old Root"), certs_ca.ca("New Root")
FIRST, SECOND = certs_ca.ca("First CA", OLD_ROOT), certs_ca.ca("Second CA", OLD_ROOT)
SELF, CROSS = certs_ca.ca("Issuing CA", OLD_ROOT, label="issuing"), certs_ca.ca("Issuing CA", NEW_ROOT, label="issuing")


def read(*made: Made) -> tuple[Certificate, ...]:
    return parse_pem_bundle("".join(one.pem for one in made)) if made else ()


def member(name: str, trusted: tuple[Made, ...], *shown: Made, **more: Any) -> MemberTrust:
    """A member that shows a leaf of the first of ``shown``, with them as its chain."""
    bundle = read(certs_ca.leaf(shown[0], label=name, usages=("server",)), *shown) if shown else ()
    return MemberTrust(name, **{"live": True, **more}, trusted=read(*trusted), leaves=(bundle,), shown=bundle)


@pytest.mark.parametrize(
    ("trusted", "shown", "way", "lost"),
    [
        ((FIRST,), FIRST, (FIRST,), ""),  # nothing changes
        ((FIRST, SECOND), FIRST, (SECOND,), "First CA"),  # a client with the previous ca.pem knows the first CA alone
        ((SECOND, FIRST), SECOND, (SECOND,), ""),  # done
        ((OLD_ROOT,), FIRST, (SECOND,), ""),  # trust: single, below one root
        ((OLD_ROOT,), SELF, (CROSS,), "Old Root"),
        ((OLD_ROOT, NEW_ROOT), SELF, (CROSS,), "Old Root"),
        ((OLD_ROOT, NEW_ROOT), CROSS, (CROSS,), ""),
        ((SELF,), SELF, (CROSS,), ""),  # whoever knows the CA itself does not look at who signed it
        ((OLD_ROOT,), SELF, (FIRST,), ""),  # from one CA to separate ones
        ((FIRST,), FIRST, (SELF,), "First CA"),  # and back
    ],
)
def test_whom_a_change_cuts_off(trusted: tuple[Made, ...], shown: Made, way: tuple[Made, ...], lost: str) -> None:
    members = [(member(name, trusted, shown), read(*way)) for name in "abc"]
    gone, needed = cut_off(members, at=NOW)
    assert ", ".join(ca.title for ca in gone) == lost
    assert needed == (read(way[0]) if lost else ())


def test_it_is_asked_until_the_last_member_has_moved() -> None:
    moved, late = member("a", (FIRST, SECOND), SECOND), member("b", (FIRST, SECOND), FIRST)
    assert cut_off([(moved, read(SECOND)), (late, read(SECOND))], at=NOW)[0] == read(FIRST)
    assert cut_off([(moved, read(SECOND))], at=NOW) == ((), ())


def test_nobody_is_cut_off_where_nobody_is_served() -> None:
    fresh = member("a", (FIRST,), FIRST, live=False)
    assert cut_off([(fresh, read(SECOND)), (member("b", (FIRST,)), read(SECOND))], at=NOW) == ((), ())


CASES = {
    "separate": ((FIRST, OLD_ROOT), (FIRST,), (OLD_ROOT,), [member("a", (FIRST,), FIRST)], (FIRST, OLD_ROOT)),
    "single": ((SELF, OLD_ROOT), (OLD_ROOT,), (OLD_ROOT,), [member("a", (OLD_ROOT,), SELF)], (OLD_ROOT,)),
    "nothing is known of members": ((FIRST,), (FIRST,), (OLD_ROOT,), [], (FIRST, OLD_ROOT)),
    "another CA is to issue": (
        (SECOND, OLD_ROOT),
        (SECOND,),
        (OLD_ROOT,),
        [member("a", (FIRST,), FIRST), member("b", (FIRST, SECOND), SECOND)],
        (SECOND, OLD_ROOT, FIRST),
    ),
    "the change is complete": (
        (SECOND, OLD_ROOT),
        (SECOND,),
        (OLD_ROOT,),
        [member("a", (SECOND, FIRST), SECOND)],
        (SECOND, OLD_ROOT),
    ),
    "another root": (
        (CROSS, NEW_ROOT),
        (NEW_ROOT,),
        (NEW_ROOT,),
        [member("a", (OLD_ROOT, NEW_ROOT), SELF)],
        (NEW_ROOT, OLD_ROOT),
    ),
    "the root is in Vault's chain alone": ((FIRST, OLD_ROOT), (FIRST,), (), [], (FIRST, OLD_ROOT)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_file_works_with_openssl_as_it_comes(name: str, tmp_path: Path) -> None:
    """Without partial chains, as Python, node and Ruby verify; with the bundles that members show now, and the new."""
    issuer, anchors, roots, members, holds = CASES[name]
    file = client_anchors(read(*issuer), read(*anchors), read(*roots), members, at=NOW)
    assert file.certificates == read(*holds)
    assert file.headless == ()
    (tmp_path / "ca.pem").write_text(file.pem)
    coming = read(certs_ca.leaf(issuer[0], label="new"), issuer[0])
    for bundle in [coming, *(each.shown for each in members)]:
        (tmp_path / "leaf.pem").write_text(bundle[0].pem)
        (tmp_path / "chain.pem").write_text("".join(c.pem for c in bundle[1:]))
        argv = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", "ca.pem"]
        argv += ["-untrusted", "chain.pem", "leaf.pem"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_root_that_is_not_known_is_said() -> None:
    file = client_anchors(read(FIRST), read(FIRST), (), [], at=NOW)
    assert file.certificates == file.headless == read(FIRST)
    assert file.roots == ()


def test_what_is_there_for_the_change_alone_is_said() -> None:
    members = [member("a", (OLD_ROOT, NEW_ROOT), SELF)]
    file = client_anchors(read(CROSS, NEW_ROOT), read(NEW_ROOT), read(NEW_ROOT), members, at=NOW)
    assert file.before == read(OLD_ROOT)
    assert file.roots == read(NEW_ROOT, OLD_ROOT)
