"""Archives: the same bytes from the same files, as etcd lays them out, and the sums beside them."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from etcdfleet.build.pack import names_in, pack, sha256_of, sums_of, sums_text

TIME = 1784834344


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "etcd").write_bytes(b"\x7fELF" + bytes(100_000))
    (tmp_path / "etcd").chmod(0o755)
    (tmp_path / "README.md").write_text("read me\n")
    (tmp_path / "README.md").chmod(0o600)
    return {"etcd": tmp_path / "etcd", "LICENSE": tmp_path / "README.md"}


def test_the_same_bytes_whenever_and_whoever(files: dict[str, Path], tmp_path: Path) -> None:
    pack(tmp_path / "a.tar.gz", "etcd-v1", files, TIME)
    os.utime(files["etcd"], (1, 1))
    if os.geteuid() == 0:
        os.chown(files["etcd"], 1234, 1234)
    before = os.umask(0o077)
    try:
        pack(tmp_path / "another-name", "etcd-v1", dict(reversed(files.items())), TIME)
    finally:
        os.umask(before)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "another-name").read_bytes()


def test_what_tar_says_of_it(files: dict[str, Path], tmp_path: Path) -> None:
    pack(tmp_path / "a.tar.gz", "etcd-v1", files, TIME)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        found = [(m.name, oct(m.mode), m.uid, m.gid, m.uname, m.gname, m.mtime) for m in tar]
    assert found == [
        ("etcd-v1", "0o755", 0, 0, "root", "root", TIME),
        ("etcd-v1/LICENSE", "0o644", 0, 0, "root", "root", TIME),
        ("etcd-v1/etcd", "0o755", 0, 0, "root", "root", TIME),
    ]
    subprocess.run(["tar", "-xzf", "a.tar.gz", "--one-top-level=out"], cwd=tmp_path, check=True)
    assert (tmp_path / "out/etcd-v1/etcd").read_bytes() == files["etcd"].read_bytes()


def test_names_in_an_archive(files: dict[str, Path], tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    pack(archive, "etcd-v1", files, TIME)
    assert names_in(archive) == {"etcd-v1/LICENSE", "etcd-v1/etcd"}
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises((OSError, EOFError, tarfile.TarError)):
        names_in(archive)


def test_sums_are_those_of_sha256sum(files: dict[str, Path], tmp_path: Path) -> None:
    sums = {"etcd": sha256_of(files["etcd"]), "README.md": sha256_of(files["LICENSE"])}
    (tmp_path / "SHA256SUMS").write_text(sums_text(sums))
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True)
    assert sums_of((tmp_path / "SHA256SUMS").read_text()) == sums
    assert sums_of(f"{'a' * 64} *x\n\nnonsense\n") == {"x": "a" * 64}
