"""Custom problems from files and modules, and what is said of those that cannot be loaded."""

import dataclasses
import json
import re

import pytest

from ntk_keras import problems
from ntk_keras.experiments import runs
from ntk_keras.problems import sources

ROD = """
import ntk_keras as nk
from ntk_keras.problems import Problem, Settings

BOX = nk.domains.Box(x=(0, 1))


def terms(settings):
    equation = lambda u, points: nk.derivatives.laplacian(u, points)[:, 0]
    return [nk.Term("equation", equation, BOX.interior(settings.points["equation"]))]


ROD = Problem(
    name="rod",
    title="Rod",
    box=BOX,
    terms=terms,
    solution=lambda points: 0 * points,
    grid=(5,),
    reference="by hand",
    presets={"quick": Settings("other", "other", {"equation": 3}, steps=500)},
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a file that defines a problem."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rod.py").write_text(f"{ROD}\nPROBLEM = ROD\n")
    return tmp_path


@pytest.mark.parametrize("source", ["rod.py", "rod.py:ROD", "./rod.py:PROBLEM"])
def test_a_problem_comes_from_a_file(folder, source):
    problem = problems.get(source)
    name = source.partition(":")[2] or "PROBLEM"
    settings = problem.presets["quick"]
    assert (settings.problem, settings.preset) == ("rod", "quick")  # whatever the file says
    assert settings.source == f"{folder / 'rod.py'}:{name}"
    assert runs.run_name(dataclasses.replace(settings, width=7)) == "rod-quick-width=7-ntk-seed0"


def test_a_problem_comes_from_a_module_of_the_current_folder(folder):
    (folder / "heat_package").mkdir()
    (folder / "heat_package" / "rods.py").write_text(ROD)
    settings = problems.get("heat_package.rods:ROD").presets["quick"]
    assert settings.source == "heat_package.rods:ROD"


def test_settings_lead_back_to_their_problem_from_everywhere(folder, tmp_path, monkeypatch):
    settings = problems.get("rod.py").presets["quick"]
    (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(settings)))
    monkeypatch.chdir("/")
    loaded = runs.load_settings(folder / "settings.json")
    assert loaded == settings
    assert problems.of(loaded).title == "Rod"
    (folder / "rod.py").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder / "rod.py"))):
        problems.of(loaded)


def test_a_file_imports_modules_beside_it_and_hides_none_of_python(folder):
    (folder / "sizes.py").write_text("HEIGHT = 3")
    (folder / "wave.py").write_text(f"from sizes import HEIGHT\n{ROD}")
    assert problems.get("wave.py:ROD").name == "rod"
    import wave

    assert hasattr(wave, "Wave_read")


def test_a_file_that_changed_is_read_again(folder):
    before = problems.get("rod.py")
    assert problems.get("rod.py").terms is before.terms
    (folder / "rod.py").write_text(f"{ROD}\nPROBLEM = ROD  # changed\n")
    assert problems.get("rod.py").terms is not before.terms


REFUSED = {
    "no such file": ("gone.py", "", r"no file .*gone\.py.*`ntk-keras new` writes"),
    "no such module": ("nowhere.heat:PROBLEM", "", "no module 'nowhere.heat', neither installed"),
    "no module at all": (":PROBLEM", "", "no module ''"),
    "unknown name": ("heat", "", r"Unknown problem 'heat'. Known: .*'wave'.*heat\.py"),
    "another name": ("bad.py", ROD, r"bad\.py does not define PROBLEM. Its problems: \['ROD'\]"),
    "no problem": (
        "bad.py",
        "PROBLEM = {}",
        "must be an ntk_keras.problems.Problem. Received dict",
    ),
    "an exception": (
        "bad.py",
        "x = 1\ny = x / 0",
        r"bad\.py, line 2: ZeroDivisionError.*\n    y = x",
    ),
    "bad syntax": ("bad.py", "x = 1\ny = (", r"bad\.py, line 2: SyntaxError: .*never closed"),
    "a missing package": ("bad.py", "import no_such", r"line 1: ModuleNotFoundError: .*'no_such'"),
    "an exception in a module": ("bad:PROBLEM", "\nx = 1 / 0", r"bad\.py, line 2: ZeroDivision"),
    "a built-in name": (
        "bad.py",
        ROD.replace('"rod"', '"wave"') + "\nPROBLEM = ROD",
        "has the name of a built-in problem, 'wave'",
    ),
    "a name that is no folder": (
        "bad.py",
        ROD.replace('"rod"', '"a/b"') + "\nPROBLEM = ROD",
        r"needs a name of letters.*Received name='a/b'",
    ),
    "no presets": (
        "bad.py",
        f"{ROD}\nimport dataclasses\nPROBLEM = dataclasses.replace(ROD, presets={{}})",
        "needs presets, such as",
    ),
}


@pytest.mark.parametrize(("source", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_loaded_is_explained(folder, source, text, message):
    (folder / "bad.py").write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        problems.get(source)


def test_settings_of_a_renamed_problem_are_refused(folder):
    settings = dataclasses.replace(problems.get("rod.py").presets["quick"], problem="old")
    with pytest.raises(ValueError, match=r"problem 'old', but .*rod\.py:PROBLEM defines 'rod'"):
        problems.of(settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("wave", False), ("heat.py", True), ("C:\\heat.py:ROD", True), ("a.b:ROD", True)],
)
def test_a_source_is_a_file_or_a_name_in_a_module(text, expected):
    assert sources.is_source(text) == expected
