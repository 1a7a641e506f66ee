"""What a new version may take away stands in one module, and what an old one lacks is tested."""

import ast
import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [p for p in sorted((ROOT / "ntk_keras").rglob("*.py")) if p.name != "private_names.py"]
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def names_of_our_own():
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.attr
            elif isinstance(node, ast.Call) and "setattr" in ast.unparse(node.func):
                yield from (a.value for a in node.args if isinstance(a, ast.Constant))


OWN = {*names_of_our_own(), "_replace"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "ntk_keras")))
def test_private_names_of_others_stand_in_their_module_alone(path):
    text = path.read_text()
    assert re.findall(r"tensorflow\.python|keras\.src|tf\.__internal__", text) == []
    used = {n.attr for n in ast.walk(TREES[path]) if isinstance(n, ast.Attribute)}
    assert {name for name in used - OWN if re.match("_[a-z]", name)} == set()


def test_the_lowest_versions_tested_are_those_declared():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    tested = dict(
        line.split("==")
        for line in (ROOT / "constraints-lowest.txt").read_text().splitlines()
        if "==" in line
    )
    for name, bound in re.findall(r"^(\w[\w-]*)>=([\d.]+)$", declared, re.MULTILINE):
        if name not in ("ruff", "mypy"):  # which look at the code with one version only
            assert tested[name] == bound or tested[name].startswith(f"{bound}."), name
