"""The work as pyinfra does it: operations for what must be true, facts for what is only looked at."""

import os
from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apk, apt, files, openrc, server, systemd

folder = Path(os.environ["BENCH_FOLDER"])
work = host.data.work

(apt if work["init"] == "systemd" else apk).packages(packages=work["packages"])
server.group(group="etcd", system=True)
server.user(user="etcd", group="etcd", system=True, ensure_home=False)
for found in work["folders"]:
    files.directory(name=f"Folder {found['path']}", path=found["path"], user=found["owner"], mode=found["mode"])

files.put(name="Trust anchor", src=str(folder / f"{host.name}.anchor.pem"), dest=work["trust_anchor"], mode="644")
for number, pair in enumerate(work["pairs"]):
    files.file(name=f"Certificate {number}", path=pair["certificate"], user="etcd", mode="600")
    files.file(name=f"Key {number}", path=pair["key"], user="etcd", mode="600")
    host.get_fact(Command, f"openssl x509 -noout -checkend {pair['seconds_left']} -in {pair['certificate']}")

for found in work["files"]:
    files.template(
        name=f"File {found['path']}",
        src=str(folder / "templates" / found["template"]),
        dest=found["path"],
        user="root",
        group="root",
        mode=found["mode"],
        jinja_env_kwargs={"trim_blocks": True, "lstrip_blocks": True},
        **work["variables"],
    )

(systemd if work["init"] == "systemd" else openrc).service(service="etcd", running=True, enabled=True)
for command in work["commands"]:
    host.get_fact(Command, command["script"])
