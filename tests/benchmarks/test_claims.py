"""Numbers in documents agree with the results that they are said to come from.

Each claim is a text of a document, with {} in place of every number that was measured, and how
these numbers follow from the rows of a file in ``benchmarks/results``. A document may round them.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.tables import RESULTS, read_csv

ROOT = Path(__file__).parents[2]
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"

Rows = Sequence[dict[str, str]]
Computed = Callable[[Rows], list[Decimal]]


def cells(column: str, **where: str) -> Computed:
    """All numbers in the cells of a column, of rows with these other cells."""

    def found(rows: Rows) -> list[Decimal]:
        chosen = [row for row in rows if all(row[name] == cell for name, cell in where.items())]
        assert chosen, where
        return [Decimal(n) for row in chosen for n in re.findall(NUMBER, row[column])]

    return found


def each(*parts: Computed) -> Computed:
    return lambda rows: [number for part in parts for number in part(rows)]


def ends(part: Computed) -> Computed:
    """The least and the largest number."""
    return lambda rows: [min(part(rows)), max(part(rows))]


def largest(part: Computed) -> Computed:
    return lambda rows: [max(part(rows))]


def times(factor: str, part: Computed) -> Computed:
    return lambda rows: [Decimal(factor) * number for number in part(rows)]


def more(part: Computed, than: Computed) -> Computed:
    """By how many percent a number is larger than another one."""
    return lambda rows: [100 * (part(rows)[0] / than(rows)[0] - 1)]


def number_of_rows(**where: str) -> Computed:
    return lambda rows: [Decimal(len(cells("seed", **where)(rows)))]


def late(name: str) -> Computed:
    return cells("after 300 s", equation=name)


def soon(name: str, seed: str | None = None) -> Computed:
    return cells("after 30 s", equation=name, **({} if seed is None else {"seed": seed}))


def scaled(weighting: str) -> Computed:
    return each(
        *(cells("after 30 s", weighting=weighting, scale=s) for s in ("0.001", "1.0", "1000.0"))
    )


def long(equation: str, way: str) -> Computed:
    return cells("error", equation=equation, way=way)


def accuracy(estimator: str) -> Computed:
    columns = ("median error, %", "worst error, %", "spread at 3000")
    return each(*(cells(column, estimator=estimator) for column in columns))


def moving(problem: str) -> Computed:
    kinds = [{"problem": problem, "points": points} for points in ("uniform", "RAD", "R3")]
    columns = ("after 30 s", "after 60 s")
    return each(*(cells(column, **kind) for kind in kinds for column in columns))


def trained(package: str, weights: str) -> Computed:
    columns = ("after 15 s", "after 30 s", "after 60 s", "ms a step")
    return each(*(cells(column, package=package, weights=weights) for column in columns))


def to_error(estimator: str, rate: str) -> Computed:
    kind = {"network": "3 x 500", "estimator": estimator, "rate": rate}
    return lambda rows: cells("steps to 5 %", **kind)(rows)[:1]  # not the seconds behind


def method(column: str, points: str, width: str, name: str) -> Computed:
    return cells(column, points=points, width=width, method=name)


def by_activation(problem: str) -> Computed:
    kinds = [{"problem": problem, "activation": a} for a in ("sin", "tanh", "sin_tanh")]
    return each(*(cells(f"{n} steps", seed="0", **kind) for kind in kinds for n in (50, 100)))


README, ESTIMATORS, COMPARISONS = "README.md", "docs/estimators.md", "docs/comparisons.md"
NATURAL, LONG, DATA = (f"docs/how-to/{n}.md" for n in ("natural-gradient", "long-times", "data"))
STUCK, DOMAINS = "docs/how-to/when-it-does-not-train.md", "docs/how-to/domains.md"
ACTIVATION = "docs/decisions/0012-activation-of-the-standard-network.md"
RUNS, BOARD = "docs/how-to/runs.md", "docs/how-to/tensorboard.md"

JAX, FIRST = "JAX, rows by jacrev", "900 residuals, 3 x 500, float32"
OURS_EXACT = cells("ratio", package="ntk_keras", weights="NTK, exact, every step")
WAVE_AT_END = cells("at the end", seed="0")
BURGERS = ends(late("burgers"))
PLAIN, STEPPED = "natural-gradient-wave", {e: cells(f"seconds to {e}") for e in ("1e-5", "1e-6")}
ERRORS = "{} ({} to {}) | {} ({} to {}) |"
ROWS_OF_POINTS = (f"| uniform | {ERRORS}", f"| | RAD | {ERRORS}", f"| | R3 | {ERRORS}")
SHAPES, DRAWS = "shapes-errors", cells("of a step")
HARD_START = long("allen-cahn", "Adam, causal, hard start")

# Document, text, file in benchmarks/results, and how the numbers follow from its rows.
CLAIMS = [
    *(
        (ACTIVATION, f"| {title} | {{}} / {{}} | {{}} / {{}} | {{}} / {{}} |", "activations", c)
        for title, c in {
            "Burgers, ν = 0.01/π": by_activation("burgers"),
            "Korteweg-de Vries": by_activation("kdv"),
            "Allen-Cahn": by_activation("allen_cahn"),
            "convection": by_activation("convection"),
            "Helmholtz": by_activation("helmholtz"),
        }.items()
    ),
    (README, "which takes {} times as long as a step with constant", "peers", OURS_EXACT),
    (README, "bring the error to {} in a minute", PLAIN, WAVE_AT_END),
    (README, "After a minute it is at {},", PLAIN, WAVE_AT_END),
    (
        README,
        "relative L2 error of 1e-5 after {} to {} s and 1e-6 after {} to {} s",
        PLAIN,
        each(ends(STEPPED["1e-5"]), ends(STEPPED["1e-6"])),
    ),
    *(
        (page, "agree to {} of each term's", "peers", largest(cells("residuals differ by")))
        for page in (README, COMPARISONS)
    ),
    (COMPARISONS, "relative L2 error of {} after a minute", PLAIN, WAVE_AT_END),
    *(
        (ESTIMATORS, f"| {first} | {{}}, {{}}, {{}} | {{}}, {{}}, {{}} | {{}}, {{}}, {{}} |", f, c)
        for first, f, c in [
            ("`exact`", "accuracy-500-0.01", accuracy("exact")),
            ("`diagonal`, 3 points", "accuracy-500-0.01", accuracy("diagonal-3")),
            ("`reverse`", "accuracy-500-0.01", accuracy("reverse")),
            ("`perturbation`", "accuracy-500-0.01", accuracy("perturbation")),
            ("`block-predictor`", "accuracy-500-0.01", accuracy("block-predictor")),
            ("`predictor`, `product`", "accuracy-500-0.01", accuracy("predictor")),
            ("`predictor`, `product`", "accuracy-500-0.01", accuracy("product")),
        ]
    ),
    *(
        (ESTIMATORS, text, "steps-to-error", more(to_error("predictor", "0.001"), EXACT))
        for EXACT in [to_error("exact", "0.01")]
        for text in ("paper's estimate takes {} % more", "the paper's estimate {} % more")
    ),
    (ESTIMATORS, "All {} runs, and the seconds", "training", number_of_rows(width="100")),
    *(
        (
            NATURAL,
            f"| {name} weights | {'| '.join(3 * ['{}, {}, {} '])}|",
            "natural-gradient-scales",
            c,
        )
        for name, c in (("NTK", scaled("ntk")), ("constant", scaled("constant")))
    ),
    *(
        (NATURAL, f"| {title} | {{}}, {{}}, {{}} |", "natural-gradient-equations", computed)
        for title, computed in {
            "Poisson | 2400 | 30 s": soon("poisson"),
            "Klein-Gordon | 2400 | 30 s": soon("klein-gordon"),
            "Helmholtz, a = (1, 4) | 2400 | 30 s": soon("helmholtz"),
            "convection, speed 50 | 2400 | 30 s": soon("convection"),
            "Allen-Cahn | 2400 | 300 s": late("allen-cahn"),
            "Burgers, ν = 0.01/π | 7200 | 300 s": late("burgers"),
        }.items()
    ),
    (NATURAL, "| wave | 2400 | 60 s | {}, {}, {} |", PLAIN, cells("at the end")),
    *(
        (
            page,
            f"reaches {{}} to {{}} after five minutes{more}",
            "natural-gradient-equations",
            BURGERS,
        )
        for page, more in ((NATURAL, " with six times"), (STUCK, ". [`Coll"))
    ),
    *(
        (
            NATURAL,
            f"| {residuals} | {width} | {parameters} | {{}} | {{}} | {{}} | {{}} |",
            "natural-gradient-parts",
            each(
                *(
                    cells(column, residuals=residuals, parameters=parameters)
                    for column in ("matrix", "factor", "step", "step, TensorFlow alone")
                )
            ),
        )
        for residuals, width, parameters in [
            ("1800", "20", "921"),
            ("1800", "40", "3441"),
            ("4320", "30", "1981"),
            ("9000", "30", "1981"),
            ("18000", "30", "1981"),
            ("4320", "50", "5301"),
        ]
    ),
    (
        NATURAL,
        "takes {} times as long for a step",
        "peers-natural-step",
        cells("ratio", package=JAX),
    ),
    (
        NATURAL,
        "it takes {} times as long: {} s and {} GB, compared to {} s and {} GB from factors",
        "peers-natural-kernel",
        each(
            cells("ratio", package=JAX, kernel=FIRST),
            times("1e-3", cells("ms", package=JAX, kernel=FIRST)),
            cells("GB", package=JAX, kernel=FIRST),
            times("1e-3", cells("ms", package="ntk_keras", kernel=FIRST)),
            cells("GB", package="ntk_keras", kernel=FIRST),
        ),
    ),
    *(
        (NATURAL, f"| {first} | {{}} | {{}} | {{}} | {{}} |", "peers-natural-training", computed)
        for first, computed in {
            "ntk_keras, NTK weights": trained("ntk_keras", "NTK weights"),
            "JAX, rows by `jacrev`, NTK weights, least loss of 26 candidates": trained(
                JAX, "NTK weights"
            ),
            "jinns, weights 1": trained("jinns", "weights 1"),
            "jinns, conditions weighted 500 by hand": trained("jinns", "conditions weighted 500"),
        }.items()
    ),
    (
        NATURAL,
        'a step takes {} s with `"sketched"` and {} s with all rows',
        "natural-gradient-methods",
        times(
            "1e-3",
            each(*(method("ms a step", "10000", "30", m) for m in ("sketched", "primal"))),
        ),
    ),
    (
        NATURAL,
        'a step takes {} s with `"dual"`, {} s with `"matrix-free"` and {} s with `"sketched"`; '
        'with 18 000 residuals, {} s with `"matrix-free"` and {} s with `"sketched"`',
        "natural-gradient-methods",
        times(
            "1e-3",
            each(
                *(
                    method("ms a step", "2400", "100", m)
                    for m in ("dual", "matrix-free", "sketched")
                ),
                *(method("ms a step", "10000", "100", m) for m in ("matrix-free", "sketched")),
            ),
        ),
    ),
    (
        NATURAL,
        '`"dual"` and `"matrix-free"` were at errors of {} and {}',
        "natural-gradient-methods",
        each(*(method("after 40 s", "2400", "100", m) for m in ("dual", "matrix-free"))),
    ),
    *(
        (DATA, f"| {title} {' '.join(ROWS_OF_POINTS)}", "moving-points", computed)
        for title, computed in {
            "Burgers, viscosity 0.01/π": moving("burgers"),
            "a front that moves to and fro": moving("front"),
        }.items()
    ),
    *(
        (LONG, f"| {way} | {{}} |", file, computed)
        for way, file, computed in [
            (
                "Adam, causal weights, epsilons 100 and 1000, initial values built into the "
                "network | 600",
                "long-times",
                HARD_START,
            ),
            ("| Adam, five slabs | 600", "long-times", long("allen-cahn", "Adam, slabs")),
            (
                "natural gradients at all times at once | 300",
                "natural-gradient-equations",
                cells("after 300 s", equation="allen-cahn", seed="0"),
            ),
            (
                "convection, speed 50 | Adam, five slabs | 600",
                "long-times",
                long("convection", "Adam, slabs"),
            ),
            (
                "natural gradients at all times at once | 30",
                "natural-gradient-equations",
                soon("convection", "0"),
            ),
            (
                "Adam, ten slabs, of which the first has 60 % of the time | 600",
                "long-times",
                long("wave", "Adam, slabs"),
            ),
            (
                "natural gradients at all times at once | 150",
                "long-times",
                long("wave", "natural"),
            ),
            ("natural gradients, five slabs | 150", "long-times", long("wave", "natural, slabs")),
        ]
    ),
    (STUCK, "600 s of Adam | 0.33 | {} |", "long-times", HARD_START),
    (
        STUCK,
        "150 s of natural gradients | {} | {} |",
        "long-times",
        each(long("wave", "natural"), long("wave", "natural, slabs")),
    ),
    (STUCK, "five slabs of Adam, 600 s | {} |", "long-times", long("convection", "Adam, slabs")),
    (
        STUCK,
        "five slabs of Adam, 600 s | 3.4e-3 | {} |",
        "natural-gradient-equations",
        soon("convection", "0"),
    ),
    (STUCK, "150 steps of natural gradients | 9.5e-5 | {} |", PLAIN, WAVE_AT_END),
    (
        STUCK,
        "60 s of Adam | 1.9e-2 | {} |",
        SHAPES,
        cells("after 60 s", shape="STL body", optimizer="adam"),
    ),
    (
        STUCK,
        "stays wrong: {} with sines, {} with `tanh`, {} with Fourier features, and {} if L-BFGS",
        "long-times",
        each(
            *(
                long("convection", way)
                for way in ("Adam", "Adam, tanh", "Adam, Fourier features", "Adam, L-BFGS")
            )
        ),
    ),
    (
        DOMAINS,
        "takes {} to {} % of a step of a 3 × 100 network for boxes, disks, polygons, meshes and "
        "combinations, and {} % for a `Body`",
        "shapes-draws",
        lambda rows: [
            *ends(DRAWS)([row for row in rows if row["shape"] != "STL body"]),
            *cells("of a step", shape="STL body")(rows),
        ],
    ),
    (
        DOMAINS,
        "relative L2 errors of {} to {} by natural gradients and {} to {} by Adam",
        SHAPES,
        each(
            ends(cells("after 60 s", optimizer="natural gradient")),
            ends(cells("after 60 s", optimizer="adam")),
        ),
    ),
    (
        RUNS,
        "below 1e-5 after {}, {} and {} s, below 1e-6 after {}, {} and {} s, below 5e-7 after {}, "
        "{} and {} s, and at {}, {} and {} after 60 s",
        PLAIN,
        each(*STEPPED.values(), cells("seconds to 5e-7"), cells("at the end")),
    ),
    *(
        (
            BOARD,
            f"{steps} steps | {' | '.join(len(ways) * ['{} %'])} |",
            "logging",
            each(
                *(
                    cells("of the time in callbacks", steps=steps.replace(" ", ""), logging=way)
                    for way in ways
                )
            ),
        )
        for steps, ways in [
            ("1000", ("default", "every epoch")),
            ("2000", ("default", "every epoch")),
            ("12 000", ("default",)),
        ]
    ),
    (
        BOARD,
        "spent {} % of the preset",
        "logging",
        cells("of the time in callbacks", logging="run"),
    ),
]


def plain(text: str) -> str:
    """The text without bold type, in one line, and with numbers in one piece."""
    return re.sub(r"(\d) (?=\d{3}\b)", r"\1", " ".join(text.replace("**", "").split()))


def stated(document: str, text: str) -> list[Decimal]:
    """The numbers in place of {} in a document that has the text once."""
    pattern = re.escape(plain(text)).replace(r"\{\}", f"({NUMBER})")
    found = re.findall(pattern, plain((ROOT / document).read_text()))
    assert len(found) == 1, f"{document} has {text!r} {len(found)} times"
    return [Decimal(n) for n in ([found[0]] if isinstance(found[0], str) else found[0])]


def agrees(number: Decimal, measured: Decimal) -> bool:
    """Whether a number is the measured one, up to half a unit in its last place."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return abs(number - measured) <= Decimal(5).scaleb(exponent - 1)


@pytest.mark.parametrize(("document", "text", "file", "computed"), CLAIMS)
def test_a_document_gives_the_numbers_measured(document, text, file, computed):
    numbers = stated(document, text)
    measured = computed(read_csv(RESULTS / f"{file}.csv"))
    assert len(numbers) == len(measured)
    for number, value in zip(numbers, measured, strict=True):
        assert agrees(number, value), f"{document}: {number} in {text!r}, measured {value}"
