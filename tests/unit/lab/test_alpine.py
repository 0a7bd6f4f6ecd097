from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images import alpine


def test_libraries_are_read_from_the_loaders_listing() -> None:
    listing = (
        "\tlinux-vdso.so.1 (0x00007fc3)\n"
        "\tlibcrypt.so.1 => /lib/x86_64-linux-gnu/libcrypt.so.1 (0x00007fc3)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007fc3)\n"
    )
    assert alpine.libraries(listing) == {"/lib/x86_64-linux-gnu/libcrypt.so.1"}


def test_a_library_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match=r"libwrap\.so\.0"):
        alpine.libraries("\tlibwrap.so.0 => not found\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root:x:0:0:root:/root:/bin/sh\nq:x:1000:1000::/home/q:/bin/sh\n", "root:x:0:0:root:/root:/bin/sh\n"),
        ("wheel:x:10:root,q\nq:x:1000:\n", "wheel:x:10:root\n"),
        ("tty:x:5:\n", "tty:x:5:\n"),
    ],
)
def test_an_account_is_dropped_with_its_memberships(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "file"
    file.write_text(before)
    alpine.drop_account(file, "q")
    assert file.read_text() == after


@pytest.mark.parametrize("before", ["", 'rc_sys="lxc"\n', "# rc_sys\nrc_sys=\nrc_sys=a\n"])
def test_an_option_is_set_once(before: str) -> None:
    text = alpine.set_option(before, "rc_sys", "systemd-nspawn")
    assert [line for line in text.splitlines() if line.startswith("rc_sys=")] == ['rc_sys="systemd-nspawn"']
    assert text.endswith("\n")


def test_only_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="empty"):
        alpine.build(tmp_path)
