from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "fashion_pipeline"


def test_every_test_states_its_rule() -> None:
    """A test's docstring says in one sentence which rule it guards."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name}"


def test_no_module_is_named_for_having_no_name() -> None:
    """Modules are nouns of the data's journey."""
    shapeless = {"utils", "helpers", "common", "manager", "base", "misc"}
    assert not [path for path in PACKAGE.rglob("*.py") if path.stem in shapeless]
