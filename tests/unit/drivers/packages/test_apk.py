from __future__ import annotations

from etcdfleet.drivers.packages.apk import apk_says

# As apk-tools 3.0 says it; install tries with and without etcd-ctl, so nearly everything is said twice.
LACKING = """ERROR: unable to select packages:
  etcd (no such package):
    required by: world[etcd]
  etcd-openrc (no such package):
    required by: world[etcd-openrc]
"""
LACKS = "ERROR: unable to select packages | etcd (no such package) | etcd-openrc (no such package)"


def test_why_the_repository_was_not_used_is_said() -> None:
    index = "http://198.51.100.1/alpine/x86_64/APKINDEX.tar.gz"
    for warning in (
        f"WARNING: opening from cache {index}: UNTRUSTED signature",
        f"WARNING: updating and opening {index}: DNS: name does not exist",
    ):
        assert apk_says(f"{warning}\n{LACKING}{warning}\n{LACKING}") == f"{warning} | {LACKS}"


def test_a_package_that_the_repositories_lack_is_named() -> None:
    assert apk_says(LACKING + "OK: 40.6 MiB in 42 packages\n") == LACKS


def test_anything_else_is_shown_by_its_end() -> None:
    assert apk_says("one\n\ntwo\nthree\nkilled\n") == "two | three | killed"


def test_a_version_that_there_is_not_is_named() -> None:
    output = "ERROR: unable to select packages:\n  etcd-3.5.1-r0:\n    breaks: world[etcd=9.9]\n"
    assert apk_says(output) == "ERROR: unable to select packages | breaks: world[etcd=9.9]"
