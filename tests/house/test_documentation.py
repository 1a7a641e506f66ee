"""Every public name is documented, and what the README shows runs."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ntk_keras
import ntk_keras_cli
from ntk_keras import networks, problems
from ntk_keras.experiments import runs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MODULES = [
    importlib.import_module(info.name)
    for info in pkgutil.walk_packages(ntk_keras.__path__, "ntk_keras.")
]


def public_callables():
    for module in MODULES:
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if callable(value) and getattr(value, "__module__", "").startswith("ntk_keras"):
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public_callables())


def test_every_module_says_what_it_exports():
    unlisted = [m.__name__ for m in MODULES if not hasattr(m, "__all__")]
    problem_files = [f"ntk_keras.problems.{name}" for name in (*problems.PROBLEMS, "template")]
    assert unlisted == sorted(problem_files)  # these export the one name PROBLEM


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_documented(name):
    value = PUBLIC[name]
    assert (inspect.getdoc(value) or "").strip(), name
    if inspect.isclass(value):
        own = [n for n, m in vars(value).items() if not n.startswith("_") and callable(m)]
        undocumented = [name for name in own if not inspect.getdoc(getattr(value, name))]
        assert not undocumented


@pytest.mark.parametrize("name", sorted(n for n, v in PUBLIC.items() if inspect.isfunction(v)))
def test_the_arguments_and_result_of_a_public_function_are_documented(name):
    function = PUBLIC[name]
    doc, parameters = inspect.getdoc(function), inspect.signature(function).parameters
    missing = [p for p in parameters if not re.search(rf"^\s+\*{{0,2}}{p}: ", doc, re.MULTILINE)]
    if len(parameters) > 1:
        assert not missing, f"{name} says nothing of {missing}"


PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}


def snippets(language, page):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def test_the_readme_shows_python():
    assert snippets("python", "README.md")


# By test_terms_page.py, test_domains_page.py and test_gallery.py.
GALLERY = {page for page in PAGES if page.startswith("docs/gallery/")}
RUN_ELSEWHERE = {"docs/how-to/terms.md", "docs/how-to/domains.md", *GALLERY}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets("python", page) and page not in RUN_ELSEWHERE]
)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """Each snippet as printed, one after the other, but for the length of training and sizes."""
    monkeypatch.chdir(tmp_path)
    # Every layer is traced, and compiled by XLA, in all the derivatives of a residual.
    monkeypatch.setitem(networks.feedforward.__kwdefaults__, "depth", 1)
    namespace = {}
    for code in snippets("python", page):
        short = re.sub(
            r"epochs=\d+,(\s+)steps_per_epoch=\d+", r"epochs=1,\1steps_per_epoch=2", code
        )
        small = re.sub(r"depth=\d+", "depth=1", re.sub(r"width=\d+", "width=8", short))
        few = small.replace("terms(1500, 300)", "terms(50, 10)")  # of the tutorial
        exec(compile(few, page, "exec"), namespace)


def commands(page):
    lines = "\n".join(snippets("bash", page)).splitlines()
    return [part.strip() for line in lines for part in line.split("&&")]


@pytest.mark.parametrize("page", [page for page in PAGES if snippets("bash", page)])
def test_the_commands_of_a_page_exist(page, tmp_path, monkeypatch):
    """Each ``ntk-keras`` line parses; the other commands are pip, pytest and tensorboard."""
    monkeypatch.chdir(tmp_path)
    ours = [c.split("ntk-keras ", 1)[1] for c in commands(page) if "ntk-keras " in c]
    for arguments in ours:
        options = ntk_keras_cli.parser().parse_args(shlex.split(arguments, comments=True))
        if options.command == "new":  # whose file later lines name
            Path(options.file).touch()


def test_the_readme_begins_with_the_main_job():
    assert any("ntk-keras run wave" in command for command in commands("README.md"))


def test_links_of_the_readme_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_runs_kept_in_logs_are_those_the_readme_reports():
    folder, errors = ROOT / "logs" / "wave-example", []
    for weighting in ("constant", "ntk"):
        run = folder / f"wave-quick-{weighting}-seed0"
        settings = runs.load_settings(run / "settings.json")
        quick = problems.get("wave").presets["quick"]
        assert settings == dataclasses.replace(quick, weighting=weighting)
        errors.append(json.loads((run / "result.json").read_text())["relative_l2"])
    assert "| 0 | {:.3f} | {:.3f} |".format(*errors) in README
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 2e6


def test_slow_parts_load_when_first_used():
    """SciPy's statistics alone take ten times as long to import as all of this package."""
    code = "import sys, ntk_keras; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"scipy.stats", "scipy.optimize", "scipy.sparse.linalg", "skfem"}
    assert not slow & set(run.stdout.split())
