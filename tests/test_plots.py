"""Figures hold the data they were given, under the right labels."""

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from ntk_keras import plots
from ntk_keras.plots import style
from ntk_keras.training.nan_check import with_own_callbacks
from tests.support.models import X as POINTS
from tests.support.models import build

T = np.linspace(0, 2, 4)
X = np.linspace(-1, 1, 3)
TRUTH = np.sin(T[:, None] + X)
PREDICTION = TRUTH + 0.1 * T[:, None] - 0.05

ROWS = [
    {
        "epoch": epoch,
        "step": 10.0 * (epoch + 1),
        "loss": 5.0 / (epoch + 1),
        "loss/equation": 3.0 / (epoch + 1),
        "loss/start": 2.0 / (epoch + 1),
        "weights/equation": 1.5,
        "weights/start": 3.0 + epoch,
        "val_relative_l2": 0.5**epoch,
    }
    for epoch in range(3)
]
# A validation every other epoch.
SPARSE = [
    {k: v for k, v in row.items() if k != "val_relative_l2" or row["epoch"] != 1} for row in ROWS
]


def lines(ax):
    """The data of an axes' lines by label."""
    return {line.get_label(): np.transpose(line.get_data()).tolist() for line in ax.lines}


def legend(figure):
    """The names in the figure's one legend, outside of the axes."""
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def points(rows, name):
    return [[row["step"], row[name]] for row in rows if name in row]


LIGHT = {"one": np.stack([TRUTH**2, TRUTH**2 / 4]), "other": np.stack([TRUTH**2 / 2] * 2)}
ANGLES = {"one": np.stack([TRUTH, -TRUTH]), "other": np.stack([TRUTH, TRUTH])}
PLACES = np.random.default_rng(0).uniform(size=(20, 3))

FIGURES = {
    "solution": lambda: plots.solution([T, X], PREDICTION, TRUTH, ["t", "x"]),
    "solution on a line": lambda: plots.solution([T], PREDICTION[:, 0], TRUTH[:, 0], ["t"]),
    "history": lambda: plots.history(ROWS),
    "comparison": lambda: plots.comparison({"constant": [ROWS], "ntk": [ROWS]}),
    "curves": lambda: plots.curves(T, {"a": T + 1}, {"a": T + 2}),
    "kernel": lambda: plots.kernel(np.eye(3), {"a": 2, "b": 1}),
    "directors": lambda: plots.directors([T, X], LIGHT, ANGLES, ["early", "late"]),
    "points": lambda: plots.points(PLACES, ["t", "x", "y"]),
    "points on a line": lambda: plots.points(PLACES[:, :1], ["t"]),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_belong_to_no_window_and_can_be_drawn(draw):
    windows = plt.get_fignums()
    figure = draw()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == windows
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    assert plots.to_array(figure).shape == (height, width, 4)


def test_a_solution_in_the_plane_shows_prediction_truth_and_error():
    figure = FIGURES["solution"]()
    error = np.linalg.norm(PREDICTION - TRUTH) / np.linalg.norm(TRUTH)
    last = f"error, relative L2 {error:.3g}"
    panels = {"prediction": PREDICTION, "truth": TRUTH, last: PREDICTION - TRUTH}
    axes = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert list(axes) == list(panels)
    for title, values in panels.items():
        (mesh,) = axes[title].collections
        # Rows of a mesh run along the second axis.
        np.testing.assert_array_equal(mesh.get_array(), values.T)
        assert axes[title].get_xlabel() == "t"
    assert axes["prediction"].get_ylabel() == "x"


def test_prediction_and_truth_share_their_colours_and_the_error_has_its_own():
    figure = FIGURES["solution"]()
    limits = [ax.collections[0].get_clim() for ax in figure.axes[:3]]
    largest, error = np.max(np.abs(TRUTH)), np.max(np.abs(PREDICTION - TRUTH))
    assert limits == [(-largest, largest), (-largest, largest), (-error, error)]
    assert len(figure.axes) == 3 + 2  # with two colour bars


def test_cells_of_a_solution_lie_around_their_points():
    mesh = FIGURES["solution"]().axes[0].collections[0]
    corners = mesh.get_coordinates()
    middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    np.testing.assert_allclose(middles, np.dstack(np.meshgrid(T, X)), atol=1e-15)  # rounding of 0


def test_a_solution_on_a_line_shows_curves():
    prediction, truth = PREDICTION[:, 0], TRUTH[:, 0]
    values, error = FIGURES["solution on a line"]().axes
    assert lines(values) == {
        "truth": np.stack([T, truth], axis=1).tolist(),
        "prediction": np.stack([T, prediction], axis=1).tolist(),
    }
    assert legend(values.figure) == ["truth", "prediction"]
    (curve,) = error.lines
    np.testing.assert_array_equal(curve.get_ydata(), prediction - truth)
    assert error.get_title().startswith("error, relative L2 ")
    assert values.get_xlabel() == error.get_xlabel() == "t"


@pytest.mark.parametrize("on_line", [False, True], ids=["plane", "line"])
def test_every_output_has_a_row_with_its_name_and_error(on_line):
    axes, at = ([T], (slice(None), 0)) if on_line else ([T, X], ...)
    truth = np.stack([TRUTH[at], 2 * TRUTH[at]], axis=-1)
    prediction = truth * (1.1, 1.3)
    given = (prediction.reshape(-1, 2), truth, "tx"[: len(axes)])
    for names, expected in (((), ("u1", "u2")), (("a", "b"), ("a", "b"))):
        titles = [ax.get_title() for ax in plots.solution(axes, *given, names).axes]
        assert [title for title in titles if "error" in title] == [
            "error, relative L2 0.1",
            "error, relative L2 0.3",
        ]
        for name in expected:
            assert name in titles or f"prediction of {name}" in titles
    with pytest.raises(ValueError, match="2 outputs need as many names"):
        plots.solution(axes, *given, ["a"])


def test_directors_show_every_field_at_every_moment_on_one_scale():
    *axes, bar = FIGURES["directors"]().axes
    assert [ax.get_title() for ax in axes] == ["one", "other", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["early\ny", "", "late\ny", ""]
    assert len({ax.collections[0].get_clim() for ax in axes}) == 1
    assert bar.get_ylim()[0] <= 0
    assert bar.get_ylim()[1] >= max(light.max() for light in LIGHT.values())
    shown = zip(axes, [ANGLES[name][k] for k in (0, 1) for name in ANGLES], strict=True)
    for ax, angles in shown:
        strokes = ax.collections[1]
        np.testing.assert_allclose(strokes.U.ravel(), np.cos(angles).ravel())
        np.testing.assert_allclose(strokes.V.ravel(), np.sin(angles).ravel())
        x, y = np.meshgrid(T, X, indexing="ij")
        np.testing.assert_allclose(strokes.X, x.ravel())
        np.testing.assert_allclose(strokes.Y, y.ravel())


@pytest.mark.parametrize("rows", [ROWS, SPARSE], ids=["every epoch", "sparse validation"])
def test_a_history_shows_weights_losses_and_the_error_over_steps(rows):
    figure = plots.history(rows)
    losses, weights, error = figure.axes
    assert lines(weights) == {
        name: points(rows, f"weights/{name}") for name in ("equation", "start")
    }
    assert lines(losses) == {name: points(rows, f"loss/{name}") for name in ("equation", "start")}
    assert list(lines(error).values()) == [points(rows, "val_relative_l2")]
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["losses", "loss weights", "relative L2 error"]
    assert texts(error) == [f"{rows[-1]['val_relative_l2']:.3g}"]
    assert {ax.get_xlabel() for ax in (weights, losses, error)} == {"step"}
    assert {ax.get_yscale() for ax in (weights, losses, error)} == {"log"}
    assert legend(figure) == ["equation", "start"]


def test_a_name_has_one_colour_in_all_panels_and_traces_have_their_own():
    rows = [{**row, "traces/both": 2.0, "traces/start": 1.0} for row in ROWS]
    figure = plots.history(rows)
    *panels, error = figure.axes
    assert [ax.get_title() for ax in panels] == ["losses", "loss weights", "kernel traces"]
    pairs = {(line.get_label(), line.get_color()) for ax in panels for line in ax.lines}
    assert len(pairs) == len({name for name, _ in pairs}) == len({c for _, c in pairs}) == 3
    assert legend(figure) == ["equation", "start", "both"]
    assert error.get_title() == "relative L2 error"


def test_a_history_without_validation_has_no_panel_of_errors():
    rows = [{k: v for k, v in row.items() if k != "val_relative_l2"} for row in ROWS]
    titles = [ax.get_title() for ax in plots.history(rows).axes]
    assert "losses" in titles
    assert "relative L2 error" not in titles


def scaled(factor, rows=ROWS):
    return [
        {**row, "val_relative_l2": factor * row["val_relative_l2"]}
        if "val_relative_l2" in row
        else row
        for row in rows
    ]


def test_a_comparison_shows_median_and_range_with_labels_at_the_ends():
    given = {"constant": [ROWS, scaled(4), scaled(2)], "ntk": [scaled(0.5, SPARSE), scaled(0.5)]}
    (ax,) = plots.comparison(given).axes
    assert lines(ax) == {
        "constant": points(scaled(2), "val_relative_l2"),
        "ntk": points(scaled(0.5, SPARSE), "val_relative_l2"),  # the epochs that both validated
    }
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.25
    assert band[:, 1].max() == 4
    assert texts(ax) == ["constant  0.5", "ntk  0.125"]
    assert ax.lines[0].get_color() == style.BASELINE
    assert ax.get_yscale() == "log"
    assert ax.get_title(loc="left") == "median and range of 3 runs"


def test_of_many_labels_the_first_and_the_best_are_thick_and_families_share_colours():
    names = ["constant", "ntk, a", "ntk, b", "other", "third, a", "fourth", "constant, fixed"]
    given = {name: [scaled(1 + n)] for n, name in enumerate(names)}
    given["ntk, b"] = [scaled(0.1)]
    (ax,) = plots.comparison(given).axes
    looks = {line.get_label(): line for line in ax.lines}
    assert {name for name, line in looks.items() if line.get_linewidth() > 1} == {
        "constant",
        "ntk, b",
    }
    for one, other in (("ntk, a", "ntk, b"), ("constant", "constant, fixed")):
        assert looks[one].get_color() == looks[other].get_color()
        assert looks[one].get_linestyle() != looks[other].get_linestyle()
    assert len({line.get_color() for line in looks.values()}) == 5
    heights = np.sort([text.get_position()[1] for text in ax.texts])
    assert np.min(np.diff(heights)) > 0.02


def test_runs_that_diverge_are_drawn_as_far_as_they_went():
    (ax,) = plots.comparison({"a": [scaled(np.nan)], "b": [ROWS], "c": []}).axes
    assert texts(ax) == ["b  0.25"]


def test_a_comparison_may_be_drawn_over_seconds():
    label = "seconds in training"
    fast = [{**row, label: seconds} for row, seconds in zip(ROWS, (1.5, 2.0), strict=False)]
    (ax,) = plots.comparison({"fast": [fast], "slow": [[{**ROWS[0], label: 4.0}]]}).axes
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1.5, 2.0], [4.0]]
    assert ax.lines[0].get_ydata().tolist() == [row["val_relative_l2"] for row in ROWS[:2]]
    assert ax.get_xlabel() == label


def test_the_values_of_a_single_epoch_are_dots():
    figure = plots.history(ROWS[-1:])
    assert {line.get_marker() for ax in figure.axes for line in ax.lines} == {"o"}
    assert "o" not in {line.get_marker() for ax in plots.history(ROWS).axes for line in ax.lines}


@pytest.mark.parametrize(
    ("places", "gap", "expected"),
    [
        ([0.5, 0.1], 0.2, [0.5, 0.1]),
        ([0.5, 0.5, 0.9], 0.2, [0.4, 0.6, 0.9]),
        ([0.0, 0.0], 0.2, [0.0, 0.2]),
        ([1.0, 1.0, 0.0], 0.4, [0.6, 1.0, 0.0]),
        ([0.3, 0.2, 0.1], 1.0, [1.0, 0.5, 0.0]),
        ([0.3], 0.5, [0.3]),
        ([], 0.5, []),
    ],
)
def test_labels_move_apart_as_little_as_possible(places, gap, expected):
    np.testing.assert_allclose(style.spread(places, gap), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.15, 0.8, ["0.2", "0.3", "0.4", "0.6"]),
        (0.5, 2e4, ["1", "10", "100", "1000", "$10^{4}$"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(low, high, labels):
    _, axes = style.panels(1, 1, 3, 2)
    axes[0, 0].plot([0, 1], [low, high])
    style.log_axis(axes[0, 0])
    axis = axes[0, 0].yaxis
    shown = [t for t in [*axis.get_majorticklabels(), *axis.get_minorticklabels()] if t.get_text()]
    inside = [t.get_text() for t in shown if low <= t.get_position()[1] <= high]
    assert inside == labels


def test_curves_are_dashed_where_exact_and_solid_where_estimated():
    exact = {"equation": T + 1, "start": T + 2}
    estimated = {"start": T + 2.5, "equation": T + 1.5}  # in any order
    figure = plots.curves(T, exact, estimated)
    (ax,) = figure.axes
    drawn = {
        line.get_label(): (line.get_linestyle(), line.get_color(), line.get_ydata().tolist())
        for line in ax.lines
    }
    first, second = style.COLORS[:2]
    assert drawn == {
        "equation, estimated": ("-", first, (T + 1.5).tolist()),
        "equation, exact": ("--", first, (T + 1).tolist()),
        "start, estimated": ("-", second, (T + 2.5).tolist()),
        "start, exact": ("--", second, (T + 2).tolist()),
    }
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss weight")
    (beside,) = figure.legends  # where it covers no curve
    assert sorted(text.get_text() for text in beside.texts) == sorted(drawn)


MATRIX = np.arange(36.0).reshape(6, 6) - 7


def test_a_kernel_is_shown_entry_by_entry():
    ax = plots.kernel(MATRIX, {"first": 3, "second": 2, "third": 1}).axes[0]
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), MATRIX)


def test_blocks_of_a_kernel_are_parted_by_lines_and_named_at_their_middle():
    ax = plots.kernel(MATRIX, {"first": 3, "second": 2, "third": 1}).axes[0]
    # Entry i covers i - 1/2 to i + 1/2.
    horizontal = [line.get_ydata() for line in ax.lines if line.get_xdata() == [0, 1]]
    vertical = [line.get_xdata() for line in ax.lines if line.get_ydata() == [0, 1]]
    assert horizontal == vertical == [[2.5, 2.5], [4.5, 4.5]]
    rows, columns = ax.texts[::2], ax.texts[1::2]
    for named in (rows, columns):
        assert [text.get_text() for text in named] == ["first", "second", "third"]
    middles = np.array([1.5, 4, 5.5]) / 6  # of the blocks, as fractions
    np.testing.assert_allclose([1 - text.xy[1] for text in rows], middles)
    np.testing.assert_allclose([text.xy[0] for text in columns], middles)


def test_names_of_small_blocks_do_not_overlap():
    ax = plots.kernel(np.eye(103), {"large": 100, "a": 1, "b": 1, "c": 1}).axes[0]
    heights = [text.get_position()[1] for text in ax.texts[::2]]
    assert np.max(np.diff(heights)) < -0.02


@pytest.mark.parametrize(("matrix", "largest"), [(MATRIX, 28), (-MATRIX, 28), (0 * MATRIX, 1)])
def test_colours_of_a_kernel_are_logarithmic_and_even_in_sign(matrix, largest):
    norm = plots.kernel(matrix, {"all": 6}).axes[0].images[0].norm
    assert isinstance(norm, SymLogNorm)
    assert (norm.vmin, norm.vmax) == (-largest, largest)
    assert norm.linthresh == pytest.approx(1e-6 * largest)


def test_pictures_are_bytes_with_the_figure_in_them():
    figure = Figure(figsize=(2, 1), dpi=50, facecolor="red")
    picture = plots.to_array(figure)
    assert picture.shape == (50, 100, 4)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[0, 0], [255, 0, 0, 255])


# Histories of every kind.


class Returned:
    """As ``fit`` of Keras returns it."""

    def __init__(self, history, epoch):
        self.history, self.epoch = history, epoch


# Validated every other epoch: in 1 and 3, counted from 0.
FOUR = [
    {"epoch": e, "loss/a": 2.0 / (e + 1), **({"val_relative_l2": 0.5**e} if e % 2 else {})}
    for e in range(4)
]


class Frame:
    """As much of a pandas frame as is asked for."""

    def __init__(self, rows):
        self.rows = rows

    def to_dict(self, orient):
        names = dict.fromkeys(name for row in self.rows for name in row)
        return [{name: row.get(name, np.nan) for name in names} for row in self.rows]


def as_text(rows):
    """As ``csv.DictReader`` yields them."""
    names = dict.fromkeys(name for row in rows for name in row)
    return ({name: str(row.get(name, "")) for name in names} for row in rows)


@pytest.mark.parametrize(
    "given",
    [
        lambda: FOUR,
        lambda: [{**row} for row in FOUR],
        lambda: (row for row in FOUR),
        lambda: as_text(FOUR),
        lambda: Frame(FOUR),
    ],
    ids=["rows", "copies", "generator", "text", "frame"],
)
def test_a_history_is_drawn_over_epochs_however_it_is_given(given):
    losses, error = plots.history(given()).axes  # no panel for weights, which it lacks
    assert lines(losses) == {"a": [[e, 2.0 / (e + 1)] for e in range(4)]}
    assert np.array(error.lines[0].get_data()).T.tolist() == [[1, 0.5], [3, 0.125]]
    assert error.get_xlabel() == losses.get_xlabel() == "epoch"


@pytest.mark.parametrize(
    ("epochs", "count", "drawn", "message"),
    [
        ([0, 1, 2, 3], 2, [1, 3], "drawn as of validation_freq=2"),
        ([1, 2, 3], 2, [1, 3], "drawn as of validation_freq=2"),
        ([0, 1, 2, 3, 4], 1, [], "nothing says which: left out"),
        ([0, 1, 2], 2, [], "nothing says which: left out"),
    ],
)
def test_values_of_some_epochs_are_drawn_where_only_one_frequency_fits(
    epochs, count, drawn, message
):
    given = Returned({"loss": [1.0] * len(epochs), "val_relative_l2": [0.5] * count}, epochs)
    with pytest.warns(UserWarning, match=message):
        axes = plots.history(given).axes
    errors = [ax.lines[0] for ax in axes if ax.get_title() == "relative L2 error"]
    assert [list(line.get_xdata()) for line in errors] == ([drawn] if drawn else [])


def test_what_fit_returns_says_at_which_epochs_it_validated():
    model = build(weighting="constant")
    given = {"validation_data": (POINTS, POINTS), "verbose": 0}
    for epochs, frequency, expected in ((5, 3, [2]), (4, [1, 4], [0, 3]), (4, 2, [1, 3])):
        history = model.fit(epochs=epochs, validation_freq=frequency, **given)
        *_, error = plots.history(history).axes
        assert list(error.lines[0].get_xdata()) == expected
        assert list(error.lines[0].get_ydata()) == history.history["val_relative_l2"]
        assert model.history is history


def test_a_history_of_ones_own_is_what_fit_returns():
    mine = keras.callbacks.History()
    callbacks = with_own_callbacks([mine])
    assert [c for c in callbacks if isinstance(c, keras.callbacks.History)] == [mine]


@pytest.mark.parametrize("given", ["history.csv", Path("history.csv"), 3, [1.0], {"loss": 1.0}])
def test_what_is_no_history_is_refused(given):
    with pytest.raises(TypeError, match="(?s)what `fit` returns.*Received .*read_history"):
        plots.history(given)


def test_a_second_fit_is_drawn_where_it_began():
    later = Returned({"loss/a": [row["loss/a"] for row in FOUR[2:]]}, [2, 3])
    assert lines(plots.history(later).axes[0]) == {"a": [[2, 2 / 3], [3, 0.5]]}


def test_comparisons_take_them_too():
    (ax,) = plots.comparison({"one": [Frame(FOUR)]}).axes
    assert lines(ax) == {"one": [[1, 0.5], [3, 0.125]]}


def test_a_model_of_keras_has_a_loss():
    assert lines(plots.history({"loss": [3.0, 1.0]}).axes[0]) == {"loss": [[0, 3.0], [1, 1.0]]}


@pytest.mark.parametrize("given", [[], {}, Returned({}, [])])
def test_an_empty_history_is_refused(given):
    with pytest.raises(ValueError, match="There is no epoch to draw"):
        plots.history(given)


# Domains with holes.


def masked(how):
    inside = np.abs(TRUTH) < 0.9
    outside = {"nan": np.nan, "infinite": np.inf, "masked": 1e30}[how]
    values = [np.where(inside, v, outside) for v in (PREDICTION, TRUTH)]
    return inside, [np.ma.masked_array(v, ~inside) if how == "masked" else v for v in values]


@pytest.mark.parametrize("how", ["nan", "infinite", "masked"])
def test_colours_are_those_of_the_domain(how):
    inside, values = masked(how)
    figure = plots.solution([T, X], *values, ["t", "x"])
    images = [ax.collections[0] for ax in figure.axes[:3]]
    largest = np.max(np.abs(TRUTH[inside]))
    error = np.max(np.abs((PREDICTION - TRUTH)[inside]))
    limits = [image.get_clim() for image in images]
    np.testing.assert_allclose(limits, [(-largest, largest)] * 2 + [(-error, error)])
    drawn = [~np.ma.getmaskarray(image.get_array()).reshape(inside.T.shape).T for image in images]
    assert all((part == inside).all() for part in drawn)
    assert plots.to_array(figure).std() > 0


def test_a_line_has_gaps_and_a_solution_may_be_zero_or_nowhere():
    figure = plots.solution([T], np.array([0, np.nan, 1, 2.0]), np.ones(4), ["t"])
    assert np.isnan(figure.axes[0].lines[1].get_ydata()[1])
    for nothing in (np.zeros((4, 3)), np.full((4, 3), np.nan)):
        figure = plots.solution([T, X], nothing, nothing, ["t", "x"])
        assert figure.axes[0].collections[0].get_clim() == (-1, 1)
        plots.to_array(figure)


def test_a_kernel_with_an_entry_that_is_not_finite():
    matrix = np.diag([2.0, np.nan, 1.0])
    assert plots.kernel(matrix, {"a": 3}).axes[0].images[0].get_clim() == (-2, 2)


# Values as networks give them.


@pytest.mark.parametrize("shape", [(12,), (12, 1), (4, 3, 1)])
def test_values_at_the_points_of_a_grid_are_drawn_on_it(shape):
    figure = plots.solution([T, X], PREDICTION.reshape(shape), TRUTH, ["t", "x"])
    mesh = figure.axes[0].collections[0]
    np.testing.assert_array_equal(np.reshape(mesh.get_array(), (3, 4)), PREDICTION.T)


NOT_DRAWN = {
    "three axes": ([T, X, X], TRUTH, "txy", r"one or two axes.*\(4,\), \(3,\), \(3,\).*slice"),
    "no list of axes": (T, TRUTH, "t", "one or two axes"),
    "labels": ([T, X], TRUTH, "t", "2 axes need as many labels. Received 't'"),
    "turned": ([T, X], TRUTH.T, "tx", r"grid \(4, 3\).*Received shape \(3, 4\)"),
    "complex": ([T, X], TRUTH * 1j, "tx", "is complex. Draw values.real"),
    "by name": ([T, X], {"u": TRUTH}, "tx", "one such array for each output"),
}


@pytest.mark.parametrize("case", NOT_DRAWN.values(), ids=NOT_DRAWN)
def test_values_that_are_none_of_a_grid_are_refused(case):
    axes, values, labels, message = case
    with pytest.raises(ValueError, match=message):
        plots.solution(axes, values, TRUTH, labels)


def test_points_are_drawn_by_pairs_of_axes():
    axes = FIGURES["points"]().axes
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in axes]
    assert labels == [("t", "x"), ("t", "y"), ("x", "y")]
    (line,) = axes[1].lines
    np.testing.assert_array_equal(np.transpose(line.get_data()), PLACES[:, [0, 2]])
    (histogram,) = FIGURES["points on a line"]().axes
    assert sum(bar.get_height() for bar in histogram.patches) == 20


UNDRAWN = [(PLACES, ["t"]), (PLACES[:, 0], ["t"]), (PLACES[:, :0], [])]


@pytest.mark.parametrize(("places", "labels"), UNDRAWN)
def test_points_of_another_number_of_axes_are_refused(places, labels):
    with pytest.raises(ValueError, match="one to four axes.*Received shape"):
        plots.points(places, labels)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_a_prediction_is_drawn_without_a_solution(axes, outputs):
    lines = [np.linspace(0, 1, 4), np.linspace(0, 1, 5)][:axes]
    values = np.random.default_rng(0).standard_normal([*map(len, lines), outputs])
    figure = plots.solution(lines, values, None, ["t", "x"][:axes])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == (["prediction"] if outputs == 1 else ["prediction of u1", "prediction of u2"])


def test_losses_are_compared_where_no_error_is_known():
    rows = [
        {"step": 1.0, "loss/a": 3.0, "loss/b": 1.0},
        {"step": 2.0, "loss/a": 1.0, "loss/b": 1.0},
    ]
    (ax,) = plots.comparison({"ntk": [rows]}).axes
    assert ax.get_ylabel() == "sum of losses"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4, 2])
