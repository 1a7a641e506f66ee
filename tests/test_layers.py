"""The folder listing is the architecture: modules import from layers below their own only."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ntk_keras"

# What each module may import from the package; a package stands for all that is in it. The
# description of problems (derivatives, domains, terms) and the mathematics of the kernel (blocks,
# rows, signals, linearization, probes, kernel, estimators) stand side by side and never see each
# other.
ALLOWED = {
    "borrowed": set(),
    "checks": set(),
    "datasets": set(),
    "files": set(),
    "precision": set(),
    "saving": set(),
    "seeds": set(),
    "derivatives": set(),
    "domains": {"checks", "seeds"},
    "terms": {"domains", "replicas", "saving"},
    "unknowns": set(),
    "networks": {"borrowed", "checks", "derivatives", "domains"},
    "blocks": set(),
    "rows": {"blocks"},
    "signals": {"blocks"},
    "fusion": set(),
    "linearization": {"blocks", "borrowed", "fusion", "rows", "signals"},
    "probes": {"seeds"},
    "kernel": {"blocks", "checks", "linearization", "rows", "signals"},
    "estimators": {"blocks", "checks", "kernel", "linearization", "probes", "seeds"},
    "weighting": {"checks", "estimators", "linearization", "replicas", "saving", "seeds"},
    "balancer": {"blocks", "linearization", "seeds", "weighting"},
    "guard": {"precision"},
    "replicas": {"seeds"},
    "metrics": {"replicas"},
    "plots": set(),
    "theory": set(),
    "branches": set(),
    "references": {"checks"},
    "inspection": {"blocks", "linearization", "signals", "terms"},
    "model": {
        "blocks",
        "checks",
        "datasets",
        "derivatives",
        "guard",
        "inspection",
        "linearization",
        "metrics",
        "precision",
        "replicas",
        "seeds",
        "terms",
        "unknowns",
        "weighting",
    },
    "callbacks": {
        "blocks",
        "checks",
        "domains",
        "files",
        "kernel",
        "linearization",
        "plots",
        "theory",
        "weighting",
    },
    "problems": {
        "checks",
        "derivatives",
        "domains",
        "model",
        "networks",
        "plots",
        "references",
        "terms",
        "weighting",
    },
    "polishing": {
        "blocks",
        "checks",
        "datasets",
        "guard",
        "linearization",
        "model",
        "seeds",
        "terms",
    },
    "runs": {"callbacks", "files", "model", "plots", "problems"},
    "comparison": {"callbacks", "estimators", "plots", "problems", "runs", "weighting"},
    "reproduction": {
        "branches",
        "callbacks",
        "estimators",
        "linearization",
        "model",
        "plots",
        "problems",
        "runs",
        "seeds",
        "theory",
    },
    "cli": {"comparison", "guard", "problems", "reproduction", "runs", "weighting"},
}

# Within derivatives, from the bottom upwards; tapes and forward derivatives never see each other.
DERIVATIVES = {
    "channels": set(),
    "arguments": {"channels"},
    "activations": {"channels"},
    "jets": {"channels"},
    "tapes": {"channels"},
    "fourth_order": {"channels", "jets"},
    "taylor": {"activations", "channels", "fourth_order", "jets"},
    "layers": {"activations", "jets", "taylor"},
    "graph": {"jets", "layers"},
    "views": {"channels", "graph", "jets"},
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


def imported_within(path, package):
    """Modules of one package that a file of it imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == f"ntk_keras.{package}":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from re.findall(rf"^ntk_keras\.{package}\.(\w+)", node.module or "")


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_lower_layers_only(path):
    module = module_of(path)
    assert set(imported(path)) - {module} <= ALLOWED[module]


@pytest.mark.parametrize("module", list(DERIVATIVES))
def test_a_module_of_derivatives_imports_from_lower_ones_only(module):
    path = PACKAGE / "derivatives" / f"{module}.py"
    assert set(imported_within(path, "derivatives")) == DERIVATIVES[module]


@pytest.mark.parametrize("allowed", [ALLOWED, DERIVATIVES], ids=["package", "derivatives"])
def test_the_layers_have_no_cycle(allowed):
    def reached(module, path=()):
        assert module not in path, f"cycle: {[*path, module]}"
        for lower in allowed[module]:
            reached(lower, (*path, module))

    for module in allowed:
        reached(module)
