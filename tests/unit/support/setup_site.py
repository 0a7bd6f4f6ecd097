"""An inventory and a real OpenBao for tests of ``runbooks/setup_pki.py``, which needs no host."""

from __future__ import annotations

import json
import logging
import os
import runpy
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac  # noqa: F401  so that a forked run has it
import nornir.plugins.runners  # noqa: F401
import rich.live  # noqa: F401

import tasks.vault  # noqa: F401
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory
from tests.unit.support.vault_server import ROOT_TOKEN, Server


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    code: int
    text: str
    report: dict[str, Any] = field(repr=False)
    log: str = field(repr=False)

    def step(self, cluster: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.report["hosts"][cluster]["steps"] if one["name"] == name)
        return found

    @property
    def changes(self) -> list[str]:
        hosts = self.report["hosts"].values()
        return [change for host in hosts for step in host["steps"] for change in step["changes"]]

    @property
    def errors(self) -> str:
        steps = [step for host in self.report["hosts"].values() for step in host["steps"] if step["error"]]
        return "\n".join(f"{step['name']}: {json.dumps(step['error'])}" for step in steps)

    @property
    def warnings(self) -> str:
        return "\n".join(json.dumps(one) for one in self.report["warnings"])


@dataclass(frozen=True)
class Namespaced(Server):
    """A part of a Vault that is like a Vault of its own."""

    namespace: str = ""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = ROOT_TOKEN) -> Any:
        """As the server's own, within the namespace."""
        return super().call(method, f"{self.namespace}/{path}", body, token)


@dataclass(frozen=True)
class Site:
    """An empty folder, and a Vault."""

    server: Server
    folder: Path

    @property
    def api(self) -> str:
        """Where Vault's paths begin."""
        return f"{self.server.address}/v1" + (f"/{self._namespace}" if self._namespace else "")

    @property
    def _namespace(self) -> str:
        return self.server.namespace if isinstance(self.server, Namespaced) else ""

    def inventory(self, edits: Mapping[str, Any] | None = None) -> Path:
        """The small inventory of `settings_files` at this Vault, with edits."""
        where = {"defaults/data/pki/address": self.server.address}
        where |= {"defaults/data/pki/namespace": self._namespace} if self._namespace else {}
        return write_inventory(self.folder, {**where, **(edits or {})})

    def run(
        self,
        *args: str,
        token: str | None = ROOT_TOKEN,
        env: Mapping[str, str] | None = None,
        runbook: str = "setup_pki",
    ) -> Ran:
        """Run the runbook to its end, as a person without a terminal would."""
        reports = self.folder / "reports"
        before = set(reports.glob("*")) if reports.exists() else set()
        argv = ["--config", "config.yaml", "--report-dir", str(reports), *args]
        code, text = self._forked(ROOT / "runbooks" / f"{runbook}.py", argv, self.environment(token, env))
        made = sorted(set(reports.glob("*")) - before) if reports.exists() else []
        report = json.loads((made[0] / "report.json").read_text()) if made else {}
        log = "".join(path.read_text() for path in made[0].glob("*.log")) if made else ""
        return Ran(code, text, report, log)

    def _forked(self, program: Path, argv: list[str], env: Mapping[str, str]) -> tuple[int, str]:
        """A process of its own, without the time that a new Python takes to import everything."""
        said = self.folder / "said"
        with said.open("w") as file:
            if (pid := os.fork()) == 0:
                code = 70
                try:
                    os.chdir(self.folder)
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                    for number in (1, 2):
                        os.dup2(file.fileno(), number)
                    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
                    os.environ.clear()
                    os.environ.update(env)
                    logging.getLogger().handlers.clear()
                    sys.argv = [str(program), *argv]
                    sys.path.insert(0, str(program.parent))
                    runpy.run_path(str(program), run_name="__main__")
                except SystemExit as end:
                    code = int(end.code or 0)
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.read_text()

    def environment(self, token: str | None = ROOT_TOKEN, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables for a run: nothing of Vault's but what is needed."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("VAULT_", "BAO_"))}
        kept |= {"HOME": str(self.folder), "COLUMNS": "200"}
        kept |= {"VAULT_CACERT": str(self.server.ca_file)} if self.server.ca_file else {}
        kept |= {"VAULT_TOKEN": token} if token else {}
        return {**kept, **(more or {})}

    def get(self, path: str) -> Any:
        """The data at a path; None when there is nothing."""
        answer = self.server.call("GET", path)
        return answer.get("data") if isinstance(answer, dict) else answer

    def names(self, path: str) -> list[str]:
        """What a LIST gives."""
        answer = self.server.call("LIST", path)
        return sorted((answer.get("data") or {}).get("keys") or []) if isinstance(answer, dict) else []

    def state(self) -> dict[str, Any]:
        """All that the runbook could change in Vault."""
        mounts = {path: entry for path, entry in self.get("sys/mounts").items() if entry["type"] in ("pki", "kv")}
        found: dict[str, Any] = {"mounts": mounts, "auth": self.get("sys/auth")}
        for path in (path for path, entry in mounts.items() if entry["type"] == "pki"):
            found[path] = {
                **{kind: self.names(f"{path}{kind}") for kind in ("issuers", "keys")},
                "roles": {name: self.get(f"{path}roles/{name}") for name in self.names(f"{path}roles")},
                "urls": self.get(f"{path}config/urls"),
                "ca": self.get(f"{path}ca/pem"),
            }
        found["policies"] = {name: self.get(f"sys/policies/acl/{name}") for name in self.names("sys/policies/acl")}
        for path, entry in found["auth"].items():
            if entry["type"] == "approle":
                roles = self.names(f"auth/{path}role")
                found[f"auth/{path}"] = {name: self.get(f"auth/{path}role/{name}") for name in roles}
                found[f"auth/{path}ids"] = {name: self.names(f"auth/{path}role/{name}/secret-id") for name in roles}
        return found

    def make_root(self, mount: str = "pki_root", life: str = "175200h") -> None:
        """A root CA as an administrator has made it by hand, with the addresses that Vault wants to be set."""
        self.server.call("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": life}})
        urls = {"issuing_certificates": [f"{self.api}/{mount}/ca"]}
        self.server.call("POST", f"{mount}/config/urls", urls)
        self.server.call("POST", f"{mount}/root/generate/internal", {"common_name": "Test Root", "ttl": life})
