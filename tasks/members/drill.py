"""A trial restore of a snapshot on a host of its cluster, or on this machine, beside whatever runs there."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nornir.core.task import Result, Task

from etcdfleet.backup.drill import NO_ROOM, compared, differences, drill_script, read_said, seconds_for
from etcdfleet.backup.note import Drill, Note, time_text
from etcdfleet.backup.store import Snapshot, note_again
from etcdfleet.errors import FleetError, RemoteError, VerificationError
from etcdfleet.etcd.restore_tool import restore_tool
from etcdfleet.etcd.versions import minor_of
from etcdfleet.outcome import done
from tasks.backup import facts_of
from tasks.configure import unsupported_arch
from tasks.observe import site_of

_USER = "etcd"
_FOLDERS = ("/var/tmp",)  # noqa: S108  a folder of its own is made there
_HERE = "this machine"
_REMEDY = "make room on a disk of this host (in /var/tmp, or in the folder above the data), or run it elsewhere"


def drill_on_host(task: Task, snapshot: Snapshot) -> Result:
    """Restore a snapshot for a trial on this host: a `Drill`, good or not, or why there was none, as text."""
    try:
        site = site_of(task)
        observed = site.observe()
        version = observed.in_force.version
        unfit = _unfit(snapshot.note, version)
        tool = restore_tool(version, etcdutl=site.remote.run("command -v etcdutl").ok)
        if unfit or isinstance(tool, str):
            return Result(task.host, result=f"{task.host.name}: {unfit or tool}")
        work = drill_script(
            snapshot.note,
            *_FOLDERS,
            str(Path(site.settings.member.data_dir).parent),
            user=_USER,
            etcd=observed.in_force.binary or "etcd",
            restorer=tool.program,
            architecture=unsupported_arch(observed.facts.architecture, version),
        )
        with snapshot.path.open("rb") as file:
            seconds = seconds_for(snapshot.note)
            answer = site.remote.send(work, file, timeout=seconds, check="the trial restore", remedy=_REMEDY)
        result: Drill | str = _judged(snapshot.note, answer.stdout, task.host.name)
    except RemoteError as error:
        # Only where the programs were at work is it the snapshot that may be at fault.
        failed = "could not restore it" in error.what or "did not stay up" in error.what
        result = _failed(error.what, task.host.name) if failed else f"{task.host.name}: {error.what}"
    except VerificationError as error:
        result = _failed(error.what, task.host.name)
    except (FleetError, OSError) as error:
        result = f"{task.host.name}: {error}"
    return Result(task.host, result=result)


def drill_here(task: Task, snapshot: Snapshot) -> Result:
    """Restore a snapshot for a trial on this machine, if it has etcd's programs: as `drill_on_host`."""
    etcd, control = shutil.which("etcd"), shutil.which("etcdctl")
    if not etcd or not control:
        return Result(task.host, result=f"{_HERE} has no etcd and etcdctl")
    said = subprocess.run([etcd, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    version = match[1] if (match := re.search(r"etcd Version: (\S+)", said)) else None
    unfit = _unfit(snapshot.note, version)
    tool = restore_tool(version, etcdutl=shutil.which("etcdutl") is not None)
    if unfit or isinstance(tool, str):
        return Result(task.host, result=f"{_HERE}: {unfit or tool}")
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    work = drill_script(
        snapshot.note,
        *_FOLDERS,
        tempfile.gettempdir(),
        user=user,
        etcd=etcd,
        restorer=shutil.which(tool.program) or tool.program,
        architecture="",
    )
    seconds = seconds_for(snapshot.note)
    # In a file of this user alone: it has a key in it, and command lines can be read by all.
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file, snapshot.path.open("rb") as content:
        file.write(work)
        file.flush()
        argv = ["sh", file.name]
        try:
            ran = subprocess.run(argv, stdin=content, capture_output=True, text=True, timeout=seconds + 30, check=False)
        except subprocess.TimeoutExpired:
            return Result(task.host, result=f"{_HERE}: the trial restore took longer than {seconds:.0f} s")
    why = ran.stderr.strip()
    if ran.returncode == NO_ROOM or (ran.returncode and "restore it" not in why and "stay up" not in why):
        return Result(task.host, result=f"{_HERE}: {why or f'exit code {ran.returncode}'}")
    if ran.returncode:
        return Result(task.host, result=_failed(why, _HERE))
    try:
        result = _judged(snapshot.note, ran.stdout, _HERE)
    except VerificationError as error:
        result = _failed(error.what, _HERE)
    return Result(task.host, result=result)


def _unfit(note: Note, version: str | None) -> str:
    """Return why this version of etcd is none for the snapshot; empty if it is."""
    minor = minor_of(version)
    if minor == note.minor:
        return ""
    return f"etcd {version or 'of an unknown version'} is there, and the snapshot is of {note.minor}"


def _judged(note: Note, text: str, where: str) -> Drill:
    said = read_said(text)
    wrong = differences(note, said)
    says = "; ".join(wrong) or compared(note, said)
    return Drill(time_text(datetime.now(UTC)), where, said.version, good=not wrong, says=says)


def _failed(why: str, where: str) -> Drill:
    return Drill(time_text(datetime.now(UTC)), where, "", good=False, says=why)


def note_drill(task: Task, snapshot: Snapshot, drill: Drill) -> Result:
    """Note beside the snapshot how its drill went. Raise `VerificationError` for one that failed, or is not noted."""
    noted = replace(snapshot, note=replace(snapshot.note, drill=drill))
    try:
        note_again(noted)
    except OSError as error:
        raise VerificationError(
            f"the drill cannot be noted: {error.strerror or error}",
            where=str(snapshot.note_path),
            remedy="let this user write there",
        ) from error
    if not drill.good:
        raise VerificationError(
            f"what was restored on {drill.where} is not what was saved: {drill.says}",
            where=str(snapshot.path),
            remedy="take a backup and drill it; if that fails too, run verify, and look at the members' databases",
        )
    what = f"restored on {drill.where} with etcd {drill.etcd}: {drill.says}"
    return done(task, what, [f"{snapshot.path.name}: {what}"], facts=facts_of([noted]))
