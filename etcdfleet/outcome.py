"""What one task did on one host, in the form that progress lines, tables and reports show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # --help answers at once
    from nornir.core.task import Result, Task


@dataclass(frozen=True)
class StepOutcome:
    """The ``result`` of every task in ``tasks/``.

    ``summary`` is one short line for people. ``changes`` names what was changed (or, with ``--check``, would be), one
    short line each. ``warnings`` reach the user in the table's foot and the report. ``facts`` goes into the host's
    record in ``report.json`` (plain JSON values only). ``skipped`` means that there was nothing for this step to do
    *because of something else* (a setting, an earlier failure); a step that looked and found all well is not skipped.
    ``restart`` says that a running etcd must be restarted for the changes to take effect. Nothing in it may be a
    secret.
    """

    summary: str = ""
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False
    restart: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was, or with ``--check`` would be, changed."""
        return bool(self.changes)


def done(
    task: Task,
    summary: str,
    changes: Iterable[str] = (),
    warnings: Iterable[str] = (),
    facts: Mapping[str, Any] | None = None,
    *,
    diff: str = "",
    skipped: bool = False,
    restart: bool = False,
) -> Result:
    """Return the result of a task: its `StepOutcome`, and ``changed`` where that has changes."""
    from nornir.core.task import Result

    outcome = StepOutcome(summary, tuple(changes), tuple(warnings), facts or {}, skipped, restart)
    return Result(task.host, result=outcome, changed=outcome.changed, diff=diff)
