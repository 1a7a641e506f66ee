"""The benchmark of intervals, at a size that takes seconds."""

import dataclasses
import re

import pytest

from benchmarks import uncertainty
from benchmarks.tables import read_csv
from ntk_keras import problems


@pytest.mark.filterwarnings("ignore:Training has not come to its end")
def test_the_study_of_heat_counts_intervals(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(uncertainty, "FIRST_STEPS", 4)
    monkeypatch.setattr(uncertainty, "STEPS", 2)
    presets = problems.get("heat_inverse").presets
    usual = presets["natural-gradient"]
    few = dict.fromkeys(usual.points, 20)
    small = dataclasses.replace(usual, points=few, width=4, depth=1)
    monkeypatch.setitem(presets, "natural-gradient", small)
    uncertainty.main(["--study", "heat", "--draws", "2", "--out", str(tmp_path)])
    (row,) = read_csv(tmp_path / "uncertainty-heat.csv")
    assert (row["noise"], row["values"], row["seeds"]) == ("0.01", "20", "2")
    shown = re.findall(r"seed \d: (\S+) ± (\S+), L2 error", capsys.readouterr().out)
    seeds = [(float(value), float(error)) for value, error in shown]
    assert len(seeds) == 2
    assert seeds[0] != seeds[1]
    assert int(row["covered"]) == sum(abs(v - 0.25) <= 1.96 * e for v, e in seeds)
    assert "20 measured" in (tmp_path / "uncertainty-heat.md").read_text()
