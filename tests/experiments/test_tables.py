"""Tables of the terminal: columns, digits."""

from ntk_keras.experiments import tables


def test_numbers_are_right_aligned():
    text = tables.markdown(["weights", "seed 0"], [["constant", "0.5"], ["ntk", "1.2e-05"]])
    assert text.splitlines() == [
        "| weights  |  seed 0 |",
        "| -------- | ------: |",
        "| constant |     0.5 |",
        "| ntk      | 1.2e-05 |",
    ]


def test_nested_numbers_have_three_digits():
    numbers = {
        "slope": -0.98765,
        "steps": 12_000,
        "bound": {"factor": 123456.0, "ends": [0.12345, 2.0], "many": [1.0] * 9},
        "settings": {"width": 8},
    }
    assert tables.numbers_table(numbers).splitlines() == [
        "  slope                 -0.988",
        "  steps                  12000",
        "  bound",
        "    factor            1.23e+05",
        "    ends              0.123, 2",
        "    many    1 ... 1 (9 values)",
    ]
