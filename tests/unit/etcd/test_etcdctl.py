"""The pair that etcdctl shows, as the shell on a host finds it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint, pair_file
from tests.unit.support.site import settings


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("new.home.pem", "old.home.pem", "new.home.key"), "new.home.pem"),
        (("old.home.pem", "old.home.key", "note.json"), "old.home.pem"),  # the member is to have another FQDN
        ((), "new.home.pem"),  # etcdctl says that it is not there
    ],
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_pair_that_is_there_is_used(tmp_path: Path, there: tuple[str, ...], found: str, shell: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    word = pair_file(str(tmp_path), "new.home", "pem")
    asked = f"f=other; printf '%s|' --cert={word} --key={pair_file(str(tmp_path), 'new.home', 'key')}; echo $f"
    said = subprocess.run([shell, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    assert said == f"--cert={tmp_path}/{found}|--key={tmp_path}/{found.replace('.pem', '.key')}|other"


def test_a_folder_that_the_shell_knows() -> None:
    words = etcdctl(settings(1), "endpoint health", ["https://a:2379"], folder='"$set"')
    assert '"$set"/etcd.az1.k8s.home.pem' in words
    assert '"$set"/*.pem' in words


def test_the_endpoint_on_the_host_may_have_another_port_than_the_inventory() -> None:
    assert local_endpoint(settings(1)) == "https://127.0.0.1:2379"
    assert local_endpoint(settings(1), tls=False, port=4001) == "http://127.0.0.1:4001"
