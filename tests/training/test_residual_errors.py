"""What is said of a residual that fails: a cure by the kind of error and its place, or none."""

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support import models

# What errors of other kinds may say, too.
TEXT = "out of bounds, 'NoneType' object, positional argument, to a numpy array, not callable"


def build(residual, points=models.X, **kwargs):
    nk.PINNModel(models.network(**kwargs), [nk.Term("a", residual, points)], "constant")


def by_tape(use):
    def residual(u, points):
        with tf.GradientTape() as tape:
            values = u(points)
        return use(tape.gradient(values, points))

    return residual


def raising(error):
    def residual(u, points):
        raise error

    return residual


def wide(u, points):
    return u(tf.concat([points, points], axis=1))[:, 0]


@pytest.mark.parametrize(
    ("residual", "cure"),
    [
        (lambda u: u, "residual(u, points)"),
        (tf.function(lambda u, points, more: u), "residual(u, points)"),
        (nk.Term.columns(["a"], lambda u: u)[0].residual, "residual(u, points)"),
        (by_tape(lambda slope: slope[:, 0]), "before `u` is called"),
        (by_tape(lambda slope: slope.shape), "before `u` is called"),
        (by_tape(lambda slope: tf.square(slope)), "before `u` is called"),
        (lambda u, points: u(points) + np.cos(u(points)), "tf.sin, not np.sin"),
        (lambda u, points: u(points)[:, 1], "outputs have shape (None, 1); columns count from 0"),
        (lambda u, points: nk.derivatives.laplacian(u(points), points), "gradient(u, points)"),
    ],
)
def test_a_cure_for_what_goes_wrong_most(residual, cure):
    with pytest.raises(ValueError, match="Term 'a': its residual failed at points of") as caught:
        build(residual)
    assert cure in str(caught.value)


def test_points_of_another_width_than_the_network_takes():
    with pytest.raises(ValueError, match="a box needs as many axes"):
        build(models.value, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "residual",
    [
        *map(raising, [KeyError(TEXT), RuntimeError(TEXT), TypeError(TEXT), ValueError(TEXT)]),
        raising(tf.errors.InvalidArgumentError(None, None, TEXT)),
        lambda u, points: (lambda a: a)(u, points),
        lambda u, points: None.shape,
        lambda u, points: u(points)(points),
        lambda u, points: u(points)[:, 0] + tf.ones(7),
        wide,
    ],
)
def test_no_cure_for_anything_else(residual):
    with pytest.raises(ValueError, match="Term 'a': its residual failed at points of") as caught:
        build(residual)
    said = str(caught.value).removesuffix(".")
    assert said.endswith(str(caught.value.__cause__).rstrip(". "))


def test_points_of_another_width_are_no_reason_for_other_errors():
    """The network is one of time alone, which the residual takes from wider points."""
    with pytest.raises(ValueError, match=r"inputs of shape \(None, 1\): of my own\.$"):
        build(raising(ValueError("of my own")), np.zeros((3, 2)))


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, TEXT),
        tf.errors.UnavailableError(None, None, TEXT),
        MemoryError(TEXT),
        KeyboardInterrupt(TEXT),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_residuals_fault_keeps_type_and_text(error):
    with pytest.raises(type(error)) as caught:
        build(raising(error))
    assert caught.value is error
