"""The Jinja2 environment of ``templates/``: undefined names are errors, values are written as the file needs them."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from etcdfleet.compiled import CompiledTemplates
from etcdfleet.errors import UsageError
from etcdfleet.host.storage import unit_of
from etcdfleet.text import go_duration

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def _yaml(value: Any) -> str:
    # JSON is YAML: a quoted string, a number, true or false, whatever characters a name may have.
    return json.dumps(value)


@cache
def environment(folder: Path = TEMPLATES) -> jinja2.Environment:
    """Return the environment for nornir-jinja2's tasks; one for all hosts, never changed after it is made."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=CompiledTemplates(),
        autoescape=False,  # noqa: S701  no HTML here; each value is quoted by a filter for the file it goes into
    )
    made.filters.update(yaml=_yaml, sh=shlex.quote, etcd_duration=go_duration, mount_unit=unit_of)
    return made


def template_error(template: str, error: Exception) -> UsageError:
    """Return the error of a template with its line, and what to do."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while line is None and trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(template):
            line = trace.tb_lineno
        trace = trace.tb_next
    return UsageError(
        f"the template cannot be rendered: {error}",
        where=f"templates/{template}" + (f":{line}" if line else ""),
        remedy="correct the template; what it may use is said in templates/README.md",
    )
