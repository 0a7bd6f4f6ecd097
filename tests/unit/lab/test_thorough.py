"""A lab test that ``make test`` leaves out names the tests that hold its claim, and these are there and run."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]


def markers(path: Path) -> list[tuple[str, list[str]]]:
    """Where ``thorough(…)`` stands in a file, and what each names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "thorough":
            named = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            found.append((f"{path.name}:{node.lineno}", named))
    return found


@cache
def functions(path: Path) -> dict[str, bool]:
    """The tests of a file, and whether ``make test`` leaves them out with all their cases."""
    if not path.exists():
        return {}
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {
        node.name: any(
            ".thorough(" in ast.unparse(one) and "parametrize" not in ast.unparse(one) for one in node.decorator_list
        )
        for node in nodes
    }


THOROUGH = [marker for path in sorted((TESTS / "lab").glob("test_*.py")) for marker in markers(path)]


def test_each_names_what_holds_its_claim() -> None:
    assert THOROUGH
    assert [place for place, named in THOROUGH if not named] == []


def test_what_holds_a_claim_is_there_and_is_not_left_out() -> None:
    wrong = []
    for place, named in THOROUGH:
        for holder in named:
            file, _, name = holder.partition("::")
            if functions(TESTS / file).get(name) is not False:
                wrong.append(f"{place}: {holder}")
    assert wrong == []
