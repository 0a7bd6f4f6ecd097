"""Processors of the user's own: named in ``config.yaml``, told of the run as Nornir does it, and unable to end it."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from etcdfleet.errors import UsageError
from etcdfleet.settings.problems import Problem, SettingsError, did_you_mean
from etcdfleet.settings.yamlfile import shown

KEY = "user_defined.processors"
HOOKS = (
    "task_started",
    "task_completed",
    "task_instance_started",
    "task_instance_completed",
    "subtask_instance_started",
    "subtask_instance_completed",
)
_FORM = "write package.module.Class, or plugin: package.module.Class and options: {…}"

log = logging.getLogger(__name__)


def _hook(name: str) -> Callable[..., None]:
    def hook(self: Guarded, *arguments: object) -> None:
        self._call(name, *arguments)

    return hook


class Guarded:
    """A processor whose faults end nothing: each is logged, and told to ``tell`` (place, text) once per method.

    Methods that the processor has not are left out.
    """

    def __init__(self, name: str, processor: object) -> None:
        self.name = name
        self.processor = processor
        self.tell: Callable[[str, str], None] = lambda _place, _text: None
        self._told: set[str] = set()

    task_started = _hook("task_started")
    task_completed = _hook("task_completed")
    task_instance_started = _hook("task_instance_started")
    task_instance_completed = _hook("task_instance_completed")
    subtask_instance_started = _hook("subtask_instance_started")
    subtask_instance_completed = _hook("subtask_instance_completed")

    def _call(self, hook: str, *arguments: object) -> None:
        method = getattr(self.processor, hook, None)
        if method is None:
            return
        try:
            method(*arguments)
        except (Exception, SystemExit) as error:
            if hook not in self._told:
                self._told.add(hook)
                log.exception("the processor %s failed in %s; the run goes on", self.name, hook)
                self.tell(self.name, f"{hook} failed, and the run went on: {type(error).__name__}: {error}")


def load_processors(user_defined: Mapping[str, Any], config_file: Path) -> list[Guarded]:
    """Return the processors that ``user_defined.processors`` of ``config_file`` names, made and guarded.

    Modules are looked for as Python does, and beside ``config_file``. Raises SettingsError with every mistake.
    """
    entries = user_defined.get("processors")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise SettingsError([Problem(shown(config_file), "", KEY, "must be a list", _FORM)])
    folder = str(config_file.parent)
    if entries and folder not in sys.path:
        sys.path.append(folder)
    processors: list[Guarded] = []
    mistakes: list[Problem] = []
    for number, entry in enumerate(entries):
        try:
            processors.append(_made(entry))
        except UsageError as mistake:
            mistakes.append(Problem(shown(config_file), "", f"{KEY}[{number}]", mistake.what, mistake.remedy))
    if mistakes:
        raise SettingsError(mistakes)
    return processors


def _made(entry: object) -> Guarded:
    """Make one processor. Raises UsageError."""
    given = {"plugin": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict) or not isinstance(given.get("plugin"), str):
        raise UsageError("names no class", remedy=_FORM)
    options = given.get("options")
    unknown = [key for key in given if key not in ("plugin", "options")]
    if unknown or not isinstance(options, dict | None):
        raise UsageError(f"unknown key {unknown[0]}" if unknown else "options must be a mapping", remedy=_FORM)
    name = given["plugin"].replace(":", ".")
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        raise UsageError(f"{name} is not in a module", remedy=_FORM)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        remedy = f"install it with {sys.executable} -m pip, or put the module beside config.yaml"
        raise UsageError(f"there is no module {error.name}", remedy=remedy) from error
    except Exception as error:
        raise UsageError(f"importing {module_name} failed: {_said(error)}", remedy=f"correct {module_name}") from error
    make = getattr(module, attribute, None)
    if not callable(make):
        near = did_you_mean(attribute, [each for each in vars(module) if not each.startswith("_")])
        raise UsageError(f"{module_name} has no class {attribute}{near}", remedy=_FORM)
    try:
        processor = make(**(options or {}))
    except Exception as error:
        raise UsageError(
            f"{name} could not be made: {_said(error)}", remedy="correct its options, or the class"
        ) from error
    if not any(callable(getattr(processor, hook, None)) for hook in HOOKS):
        raise UsageError(f"{name} is no processor", remedy=f"it needs at least one of {', '.join(HOOKS)}")
    return Guarded(name, processor)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
