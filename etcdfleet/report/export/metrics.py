"""A run as metrics in Prometheus' text format, for node_exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etcdfleet.errors import UsageError
from etcdfleet.files import write_whole
from etcdfleet.report.record.facts import certificates_of
from etcdfleet.report.record.model import RunRecord
from etcdfleet.session import session_of

if TYPE_CHECKING:
    from nornir.core.configuration import Config

_HELP = {
    "etcdfleet_backup_last_good_seconds": "When the newest good backup was taken, in seconds since 1970.",
    "etcdfleet_backup_last_drill_seconds": "When a backup was last restored for a trial, and was good.",
    "etcdfleet_backup_size_bytes": "Size of the newest good backup.",
    "etcdfleet_backup_copies": "Backups that there are, by whether they are good.",
    "etcdfleet_certificate_not_after_seconds": "When the certificate on the host ends, in seconds since 1970.",
    "etcdfleet_host_failed": "1 if the last run failed on the host, else 0.",
    "etcdfleet_run_exit_code": "Exit code of the last run: 0 well, 1 failed, 2 wrong use, 3 stopped for safety.",
    "etcdfleet_run_finished_seconds": "When the last run ended, in seconds since 1970.",
    "etcdfleet_run_changed_hosts": "Hosts that the last run changed.",
}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
NAMES = tuple(_HELP)
"""The names of all metrics."""
OPTION = "textfile"
"""The option of a runbook that names the file."""


def metrics(record: RunRecord) -> str:
    """Return the metrics of a run that has ended."""
    failed = [
        _line(
            "etcdfleet_host_failed",
            {"runbook": record.runbook, "host": host.name, "cluster": host.cluster},
            int(host.failed_step is not None),
        )
        for host in record.hosts.values()
    ]
    of_hosts = _backups(record) | {
        "etcdfleet_certificate_not_after_seconds": list(_ends(record)),
        "etcdfleet_host_failed": failed,
    }
    return _text(of_hosts | _of_run(record.runbook, int(record.exit_code), record.finished, record.changed))


def metrics_of_refusal(runbook: str, code: int, before: str) -> str:
    """Return the metrics of a run that could not begin: its exit code and when.

    Hosts and their certificates are as they were, as ``before``, the file of the last run, says.
    """
    kept = {name: [line for line in before.splitlines() if line.startswith(f"{name}{{")] for name in _HELP}
    return _text(kept | _of_run(runbook, code, None, 0))


def _of_run(runbook: str, code: int, finished: datetime | None, changed: int) -> dict[str, list[str]]:
    values = {
        "etcdfleet_run_exit_code": code,
        "etcdfleet_run_finished_seconds": int((finished or datetime.now(UTC)).timestamp()),
        "etcdfleet_run_changed_hosts": changed,
    }
    return {name: [_line(name, {"runbook": runbook}, value)] for name, value in values.items()}


def _text(families: Mapping[str, Sequence[str]]) -> str:
    lines: list[str] = []
    for name, samples in families.items():
        if samples:
            lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", *samples]
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, record: RunRecord) -> None:
    """Write the metrics of a run that has ended; a reader sees the old file or the new one.

    Raises UsageError when the file cannot be written.
    """
    _write(path, metrics(record))


def write_refusal(path: Path, runbook: str, code: int) -> None:
    """Write the metrics of a run that could not begin. Raises UsageError as `write_metrics`."""
    try:
        before = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        before = ""
    _write(path, metrics_of_refusal(runbook, code, before))


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text, 0o644)  # the collector is another user
    except OSError as error:
        raise UsageError(
            f"the metrics cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="make the folder, and let this user write there",
        ) from None


def write_at_end(configuration: Config, record: RunRecord, path: Path, complain: Callable[[str], None]) -> None:
    """Have the metrics of a run written when it has ended. ``complain`` is told if that fails; the result stays."""

    def write() -> None:
        try:
            write_metrics(path, record)
        except UsageError as error:
            complain(str(error))

    session_of(configuration).at_end(write)


def _ends(record: RunRecord) -> Iterator[str]:
    for host in record.hosts.values():
        for role, certificate in certificates_of(host.facts).items():
            if end := certificate.not_after:
                labels = {"host": host.name, "cluster": host.cluster, "role": role}
                yield _line("etcdfleet_certificate_not_after_seconds", labels, int(end.timestamp()))


def _backups(record: RunRecord) -> dict[str, list[str]]:
    """Return what backup.py saw of each cluster's backups, whether this run took one or not."""
    lines: dict[str, list[str]] = {name: [] for name in _HELP if name.startswith("etcdfleet_backup_")}
    for row in record.hosts.values():
        seen, labels = row.facts.get("backup"), {"cluster": row.cluster}
        if not isinstance(seen, Mapping):
            continue
        for name, key in (("last_good_seconds", "taken"), ("last_drill_seconds", "drilled")):
            if key in seen:
                when = int(datetime.fromisoformat(seen[key]).timestamp())
                lines[f"etcdfleet_backup_{name}"].append(_line(f"etcdfleet_backup_{name}", labels, when))
        if "size_bytes" in seen:
            name = "etcdfleet_backup_size_bytes"
            lines[name].append(_line(name, labels, seen["size_bytes"]))
        name = "etcdfleet_backup_copies"
        lines[name] += [_line(name, {**labels, "state": state}, seen[state]) for state in ("good", "damaged")]
    return lines


def _line(name: str, labels: Mapping[str, str], value: int) -> str:
    pairs = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}"
