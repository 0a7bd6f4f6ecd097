"""A deploy of one host that is only remembered: for drivers that a single test module brings along."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from nornir.core.task import Result

from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import CommandResult, RemoteFile, RemoteHost
from etcdfleet.rendering import TEMPLATES, environment
from etcdfleet.settings.load import open_nornir
from tasks.certificates.place import certificates
from tasks.configure import configure
from tasks.install import install
from tasks.preflight import preflight
from tasks.start import start_member
from tests.unit.support.settings_files import write_inventory

OS_RELEASE = 'ID=void\nPRETTY_NAME="Void"\n'
MEMBERS = {
    "header": {"cluster_id": 1, "member_id": 1, "raft_term": 2},
    "members": [
        {"ID": number, "name": name, "peerURLs": [f"http://{name}:2380"], "clientURLs": [f"http://{name}:2379"]}
        for number, name in enumerate("abc", 1)
    ],
}
WITHOUT_TLS = {"groups/home/data/cluster": {"token": "home", "peer_tls": False, "client_tls": False}}


class Remembered(RemoteHost):
    """A host that answers as ``answers`` say (by the name of a command), keeps the files that are placed on it, and
    remembers each script. ``when`` are functions that are called once a script holds their key."""

    def __init__(self, answers: Mapping[str, str], when: Mapping[str, Callable[[Remembered], None]]) -> None:
        super().__init__("a", None)  # type: ignore[arg-type]
        self.answers = {
            "machine": "x86_64\nx86_64\n",
            "place": "path /var/lib/etcd\nmount / rw ext4 /dev/sda1 rw\n",
            "openssl": "/usr/bin/openssl\n",
            "members": json.dumps(MEMBERS),
            **answers,
        }
        self.when = dict(when)
        self.files = {"/etc/os-release": RemoteFile("/etc/os-release", OS_RELEASE.encode())}
        self.asked: dict[str, str] = {}
        self.scripts: list[str] = []

    def batch(self, commands: Mapping[str, str], **_: Any) -> dict[str, CommandResult]:
        """What the host says, without running anything."""
        self.asked |= commands
        return {name: self._answer(name, command) for name, command in commands.items()}

    def run(self, script: str, **_: Any) -> CommandResult:
        """Everything works."""
        self.scripts.append(script)
        for words, change in self.when.items():
            if words in script:
                change(self)
        return CommandResult(0, "", "")

    def place(self, files: Sequence[RemoteFile], *, before: str = "", after: str = "", **_: Any) -> CommandResult:
        """The files are there from now on."""
        self.files |= {file.path: file for file in files}
        return self.run(f"{before}\n{after}")

    def upload(self, local: Path, remote: str) -> None:
        """Is forgotten."""

    def _answer(self, name: str, command: str) -> CommandResult:
        match name:
            case "clock":
                return CommandResult(0, str(int(time.time())), "")
            case "files":
                return CommandResult(0, self._archive(), "")
            case "resolve":
                known = {f"{host}.home.test": f"192.0.2.{number}" for number, host in enumerate("abc", 1)}
                names = "".join(re.findall(r"^set -- (.*)$", command, re.MULTILINE)).split()
                return CommandResult(0, "".join(f"{name} {known[name]} \n" for name in names), "")
            case "free":
                paths = "/var/lib/etcd /etc /usr"
                return CommandResult(0, f"{paths}\nFilesystem\n" + "/dev/sda1 9 1 99999999 1% /\n" * 3, "")
            case "data":
                return CommandResult(44, "", "")
            case "user":
                return CommandResult(1, "", "")
            case _:
                return CommandResult(0, self.answers.get(name, ""), "")

    def _archive(self) -> str:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for file in self.files.values():
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.size, entry.mode, entry.uname, entry.gname = len(file.content), file.mode, "root", "root"
                archive.addfile(entry, io.BytesIO(file.content))
        return base64.b64encode(data.getvalue()).decode()


class Drill:
    """A deploy of host a of the cluster in ``tests.unit.support.settings_files``, changed by ``edits``.

    ``templates`` are files that lie beside the project's own.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        edits: Mapping[str, Any],
        *,
        answers: Mapping[str, str] | None = None,
        when: Mapping[str, Callable[[Remembered], None]] | None = None,
        templates: Mapping[str, str] | None = None,
    ) -> None:
        self.host = Remembered(answers or {}, when or {})
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr("tasks.observe.connect", lambda *_: self.host)
        if templates:
            shutil.copytree(TEMPLATES, folder / "templates")
            for name, text in templates.items():
                (folder / "templates" / name).write_text(text)
            monkeypatch.setattr("tasks.configure.environment", lambda: environment(folder / "templates"))
        nornir, self.fleet = open_nornir(write_inventory(folder, edits))
        self.nornir = nornir.filter(name="a")

    def run(self, task: Callable[..., Result], **arguments: Any) -> StepOutcome:
        """The outcome of a task on the host. Raises what the task raises."""
        result = self.nornir.run(task, **arguments)["a"][0]
        self.nornir.data.reset_failed_hosts()
        if result.exception:
            raise result.exception
        assert isinstance(result.result, StepOutcome)
        return result.result

    def deploy(self) -> dict[str, StepOutcome]:
        """The outcomes of a deploy's tasks, by their names."""
        steps = (preflight, install, certificates, configure, start_member)
        return {step.__name__: self.run(step) for step in steps}
