"""Shell that runs on hosts: it is well-formed, values reach it as they are, and its output is what its reader expects.

Everything runs in this machine's ``sh`` and, where it is there, in busybox's, as `tests.unit.support.site` has them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdfleet.host import others, storage
from etcdfleet.host.lock import LockInfo, hold_script
from etcdfleet.remote import scripts
from etcdfleet.remote.scripts import FOLDER, script
from tests.unit.support.site import BusyBox, LocalHost

NASTY = ("two words", "it's", 'a "quote"', "$(exit 9) `exit 9` $HOME", "a\nb\n", "*", "\\n", "-n", "ümlaut", "")
"""What a careless script would split, expand, run or lose."""
FILES = sorted(path.stem for path in FOLDER.glob("*.sh"))
needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="there is no busybox here (make lint has one)")
needs_shellcheck = pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck here")


@pytest.fixture(name="here", params=["sh", pytest.param("busybox", marks=needs_busybox)])
def _here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    return LocalHost() if request.param == "sh" else BusyBox(tmp_path_factory.mktemp("busybox"))


def complaints(text: str) -> str:
    """What the shells and shellcheck have against a script; empty for nothing."""
    said = ""
    for shell in (
        ["sh", "-n"],
        ["busybox", "ash", "-n"],
        ["shellcheck", "--shell=sh", "--exclude=SC2016", "-"],
    ):  # a value may look like shell
        if shutil.which(shell[0]):
            done = subprocess.run(shell, input=text, capture_output=True, text=True, cwd=FOLDER, check=False)
            said += done.stdout + done.stderr
    return said


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for scripts of a test."""
    monkeypatch.setattr(scripts, "FOLDER", tmp_path)
    for cached in (scripts.program, scripts._read):
        monkeypatch.setattr(scripts, cached.__name__, cached.__wrapped__)
    return tmp_path


def test_values_arrive_as_they_are(here: LocalHost, folder: Path) -> None:
    (folder / "say.sh").write_text(
        '#!/bin/sh\n# Says what it gets.\n: "${one?}" "${number?}" "${yes?}"\n: "${no?}"\n'
        'printf "%s|" "$one" "$number" "$yes" "$no" "$@"; say "$one"\n'
    )
    for value in NASTY:
        asked = script(
            "say", *NASTY, functions={"say": "printf '<%s>' \"$1\""}, one=value, number=3, yes=True, no=False
        )
        assert here.run(asked).stdout == "".join(f"{word}|" for word in (value, "3", "yes", "", *NASTY)) + f"<{value}>"


def test_a_script_gets_the_values_that_it_names(folder: Path) -> None:
    (folder / "say.sh").write_text('#!/bin/sh\n\n# "${head?}"\n: "${one?}"\n: "${two?}"\necho "${else?}"\n')
    assert script("say", one=1, two="") == 'one=1\ntwo=\'\'\nset --\n: "${one?}"\n: "${two?}"\necho "${else?}"\n'
    for given in ({}, {"one": 1}, {"one": 1, "two": 2, "three": 3}):
        with pytest.raises(TypeError, match=r"say.sh needs the values \['one', 'two'\]"):
            script("say", functions=None, **given)


def test_a_function_without_a_command_does_nothing(here: LocalHost, folder: Path) -> None:
    (folder / "say.sh").write_text("say && echo done\n")
    assert here.run(script("say", functions={"say": ""})).stdout == "done\n"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_well_formed(name: str) -> None:
    text = (FOLDER / f"{name}.sh").read_text()
    assert text.startswith("#!/bin/sh\n# "), "what it is for comes first"
    assert complaints(text) == ""


def rendered(value: str) -> Mapping[str, str]:
    """What is made of the files, by their names, with ``value`` wherever there can be anything."""
    info = LockInfo(value, value, value, 1, value)
    return {
        "hold_lock": hold_script(info, break_lock=True),
        "data_place": storage.probe(value),
        "other_etcds": others.probe(value),
    }


@needs_shellcheck
@pytest.mark.parametrize("value", NASTY)
def test_what_runs_on_hosts_is_well_formed(value: str) -> None:
    for name, text in rendered(value).items():
        assert complaints(text) == "", name


def test_where_data_lie(here: LocalHost, tmp_path: Path) -> None:
    for word in NASTY[:-1]:
        if "\n" in word:
            continue  # its answers are lines
        real = tmp_path / "disk" / word
        real.mkdir(parents=True)
        link = tmp_path / f"{word}.link"
        link.symlink_to(real)
        answer = here.run(storage.probe(str(link)))
        assert (answer.rc, answer.stderr) == (0, "")
        assert storage.read_place(answer.stdout).path == str(real)
        assert storage.read_place(answer.stdout).mount.kind


STATUS = """[ "$1" != https://c ] || { echo "Failed to get the status of endpoint $1 (gone)" >&2; echo '[]'; exit 1; }
rev=9
found=
for url in $(echo "$1" | tr , ' '); do
  found="$found,{\\"Endpoint\\":\\"$url\\",\\"Status\\":{\\"header\\":{\\"revision\\":$rev},\\"errors\\":[\\"x, y\\"]}}"
  rev=10
done
echo "[${found#,}]\""""


@pytest.mark.parametrize(
    ("groups", "answering"),
    [
        (["https://a,https://b"], ["https://a", "https://b"]),  # one process for all
        (["https://a", "https://b"], ["https://a", "https://b"]),  # one for each
        (["https://a", "https://c"], ["https://a"]),
        (["https://c"], []),
    ],
)
def test_hashes_of_those_that_answer_at_the_lowest_revision(
    here: LocalHost, groups: list[str], answering: list[str]
) -> None:
    asked = script("status_and_hashes", *groups, functions={"status": STATUS, "hashes": 'echo "hashes of $1 at $2"'})
    answer = here.run(asked.replace("/run/", "/tmp/"))
    statuses, _, hashes = answer.stdout.partition("\n")
    assert [status["Endpoint"] for status in json.loads(statuses)] == answering
    assert hashes == (f"hashes of {','.join(answering)} at 9\n" if answering else "")
    assert (answer.rc == 0) is bool(answering)
    assert ("Failed to get the status of endpoint https://c" in answer.stderr) is ("https://c" in groups)


def test_the_present_hash_where_all_revisions_are_compacted(here: LocalHost) -> None:
    hashes = 'if [ "$2" = 0 ]; then echo now; else echo "[]"; fi'
    asked = script("status_and_hashes", "https://a", functions={"status": STATUS, "hashes": hashes})
    assert here.run(asked.replace("/run/", "/tmp/")).stdout.splitlines()[1] == "now"
