"""A function reads without scrolling, a module in one sitting."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ntk_keras"
FILES = [*sorted(PACKAGE.rglob("*.py")), *sorted(PACKAGE.parent.glob("ntk_keras_cli/*.py"))]
MODULE, FUNCTION = 350, 45


def body_lines(node):
    """Lines of a function's body without its docstring, functions within it included."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_a_module_and_its_functions_are_short(path):
    text = path.read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert len(text.splitlines()) <= MODULE
    assert [f.name for f in functions if body_lines(f) > FUNCTION] == []
