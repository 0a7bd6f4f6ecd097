"""The project's templates for tools that know nothing of it: each value is looked up instead of computed.

Whatever a template writes or asks becomes a number, and the values are noted while the product's own environment
renders the template for a host. So another tool's Jinja2 makes the same text, whichever names, methods and filters a
template uses; nothing here knows any of them. ``tests/unit/bench/test_plain.py`` compares the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from etcdfleet.rendering import TEMPLATES, environment

VALUES = "values_of"
"""The variable that a reworded template looks its values up in: ``values_of["conf.yml.j2"][3]``."""
_WRITTEN, _ASKED = "note_written", "note_asked"

Value = str | bool | None


class _LookedUp:
    """What stands in the place of an expression when another tool renders the template."""

    def __init__(self, template: str) -> None:
        self.template = template

    def written(self, number: int, _expression: str) -> str:
        return f'{VALUES}["{self.template}"][{number}]'

    asked = written

    def block(self, number: int, _source: str) -> str:
        return f"{{{{ {self.written(number, '')} }}}}"


class _Noted:
    """What stands there when the values are noted: the expression itself."""

    def written(self, number: int, expression: str) -> str:
        return f"{_WRITTEN}({number}, ({expression}))"

    def asked(self, number: int, expression: str) -> str:
        return f"{_ASKED}({number}, ({expression}))"

    def block(self, number: int, source: str) -> str:
        return f"{{% set _block %}}{source}{{% endset %}}{{{{ {self.written(number, '_block')} }}}}"


def reword(template: str, source: str) -> str:
    """A template that makes the same text with the variable `VALUES` alone.

    Raises `ValueError` for a statement that this module does not know.
    """
    return _reworded(template, source, _LookedUp(template))[0]


def write_templates(folder: Path) -> None:
    """All templates, reworded, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in TEMPLATES.glob("*.j2"):
        (folder / path.name).write_text(reword(path.name, path.read_text()))


def values(template: str, source: str, variables: Mapping[str, object]) -> list[Value]:
    """What the reworded template looks up, for a host whose template variables these are.

    ``None`` stands where a branch is not taken. Raises what Jinja2 raises for a faulty template.
    """
    noting, count = _reworded(template, source, _Noted())
    noted: list[Value] = [None] * count

    def written(number: int, value: object) -> object:
        noted[number] = str(value)
        return value

    def asked(number: int, value: object) -> object:
        noted[number] = bool(value)
        return value

    environment().from_string(noting).render({**variables, _WRITTEN: written, _ASKED: asked})
    return noted


def _reworded(template: str, source: str, instead: _LookedUp | _Noted) -> tuple[str, int]:
    """The template written anew, and how many values it has."""
    found: list[str] = []
    count = 0
    pieces = _pieces(source)
    for line, kind, text, inner in pieces:
        if kind == "data":
            found.append(text)
            continue
        word, _, expression = inner.partition(" ")
        if kind == "variable":
            # What begins and ends it stays: that says what happens to the white space around it.
            found.append(text.replace(inner, instead.written(count, inner)))
        elif word in ("if", "elif"):
            found.append(text.replace(inner, f"{word} {instead.asked(count, expression)}"))
        elif word == "for":
            depth, whole = 1, [text]
            while depth:
                _, kind, text, inner = next(pieces)
                whole.append(text)
                depth += (kind == "block") * (inner.startswith("for ") - (inner == "endfor"))
            found.append(instead.block(count, "".join(whole)))
        elif word in ("else", "endif"):
            found.append(text)
            continue
        else:
            raise ValueError(f"templates/{template}:{line}: {word!r} is not known to {__name__}; teach it that")
        count += 1
    return "".join(found), count


def _pieces(source: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, kind (data, variable, block), text, and what is within the braces. Comments are left out."""
    whole: list[str] = []
    kind, began = "", 1
    for line, token, text in environment().lex(source):
        if token == "data" or token.startswith("comment"):
            if token == "data":
                yield line, "data", text, ""
        elif token.endswith("_begin"):
            whole, kind, began = [text], token.removesuffix("_begin"), line
        elif token == f"{kind}_end":
            yield began, kind, "".join([*whole, text]), "".join(whole[1:]).strip()
        else:
            whole.append(text)
