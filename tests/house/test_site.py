"""What MkDocs does not check: formulas, other hosts, the width of code, and words to search for."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("RE*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
}


def without_code(page):
    return re.sub(r"```.*?```|`[^`\n]*`", "", page, flags=re.DOTALL)


FORMULAS = sorted(
    {
        formula
        for page in PAGES.values()
        for pair in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", without_code(page), re.DOTALL)
        for formula in pair
        if formula
    }
)


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("latex2mathml")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_formula_becomes_mathml(hooks):
    assert len(FORMULAS) > 100
    for formula in FORMULAS:
        assert hooks.mathml(formula, display="inline").startswith("<math ")


def test_an_unknown_command_is_reported(hooks):
    with pytest.raises(ValueError, match="does not know .foo"):
        hooks.mathml(r"\foo x", display="inline")


@pytest.mark.parametrize("page", PAGES)
def test_code_is_at_most_80_columns_wide(page):
    """Wider lines are cut on a laptop beside the two tables of contents."""
    codes = re.findall(r"```(?:python|bash)\n(.*?)```", PAGES[page], re.DOTALL)
    assert [line for code in codes for line in code.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    "words", ["Neumann", "Robin", "disk", "annulus", "L-shaped", "STL", "GPU", "Burgers", "inverse"]
)
def test_a_page_for_users_has_what_they_search_for(words):
    found = [
        name
        for name, page in PAGES.items()
        if "decisions" not in name and words in without_code(page)
    ]
    assert found


def test_the_site_needs_no_other_host():
    assert "://" not in (ROOT / "mkdocs.yml").read_text()
