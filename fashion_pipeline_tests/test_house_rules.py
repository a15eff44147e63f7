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


def test_no_test_module_imports_another() -> None:
    """What two test modules share stands in a module that holds no test."""
    for path in TESTS.rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text("utf-8")))
        modules = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        assert not [name for name in modules if name.rpartition(".")[2].startswith("test_")], path.name
