"""The folder listing is the architecture: modules import from layers below their own only."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ntk_keras"

# Packages from the bottom upwards: each imports from those below its own line only; those of one
# line never see each other. The description of problems (derivatives, domains) and the mathematics
# of the kernel meet above both.
FLOORS = [
    {"backend", "plots", "theory"},
    {"derivatives", "domains", "kernel", "references"},
    {"networks", "estimators", "optimizers"},
    {"weighting"},
    {"training"},
    {"callbacks"},
    {"problems", "slabs"},
    {"experiments"},
    {"cli"},
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}

# Within derivatives, from the bottom upwards; tapes and forward derivatives never see each other.
DERIVATIVES = {
    "channels": set(),
    "axis_names": set(),
    "argument_checks": {"axis_names", "channels"},
    "activations": {"channels"},
    "jets": {"channels"},
    "tapes": {"channels"},
    "fourth_order": {"channels", "jets"},
    "taylor": {"activations", "channels", "fourth_order", "jets"},
    "layer_parameters": {"channels", "jets"},
    "layer_rules": {"activations", "jets", "taylor"},
    "propagation": {"jets", "layer_rules"},
    "smoothness": {"activations", "channels", "layer_rules", "network_inputs", "propagation"},
    "network_inputs": {"jets", "taylor"},
    "output_view": {"channels", "network_inputs"},
    "network_view": {
        "axis_names",
        "channels",
        "jets",
        "network_inputs",
        "output_view",
        "propagation",
    },
    "operators": {"argument_checks", "axis_names", "channels", "smoothness", "tapes"},
}


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Top-level modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "ntk_keras":
                yield from (alias.name for alias in node.names)
            elif (node.module or "").startswith("ntk_keras."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("ntk_keras."))


def name_of(path):
    """The module of a file, as ``ntk_keras.kernel.exact``; a folder's is the folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(path):
    """The modules of the package that a file imports, to the file that holds what it takes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ntk_keras"):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(m if is_module(m) else node.module for m in modules)
    return found - {"ntk_keras", name_of(path)}


def is_module(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imported_within(path, package):
    """Modules of one package that a file of it imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == f"ntk_keras.{package}":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from re.findall(rf"^ntk_keras\.{package}\.(\w+)", node.module or "")


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
PARSER_FILES = sorted((PACKAGE.parent / "ntk_keras_cli").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_from_lower_floors_only(path):
    room = module_of(path)
    others = set(imported(path)) - {room}
    assert {other for other in others if FLOOR_OF[other] >= FLOOR_OF[room]} == set()


@pytest.mark.parametrize("module", list(DERIVATIVES))
def test_a_module_of_derivatives_imports_from_lower_ones_only(module):
    path = PACKAGE / "derivatives" / f"{module}.py"
    assert set(imported_within(path, "derivatives")) == DERIVATIVES[module]


@pytest.mark.parametrize("path", PARSER_FILES, ids=lambda path: path.name)
def test_the_parser_needs_the_standard_library_only(path):
    tree = ast.parse(path.read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in nodes]
    known = sys.stdlib_module_names | {"ntk_keras_cli"}
    assert {name.split(".")[0] for name in names} <= known


def test_modules_have_no_cycle():
    imports = {name_of(path): modules_imported(path) for path in FILES}
    left = {module: lower & set(imports) for module, lower in imports.items()}
    while lowest := {module for module, lower in left.items() if not lower & set(left)}:
        left = {module: lower for module, lower in left.items() if module not in lowest}
    assert not left, f"in a circle, or above one: {sorted(left)}"
