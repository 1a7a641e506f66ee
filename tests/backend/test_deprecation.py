"""Names of the version before: they work, and warn of what takes their place."""

import pytest

import ntk_keras as nk

BOX = nk.domains.Box(x=(0, 1))


@pytest.mark.parametrize(
    ("find", "found"),
    [
        (lambda: nk.probes, nk.estimators.probes),
        (lambda: nk.derivatives.View, nk.derivatives.NetworkView),
        (lambda: nk.derivatives.Requests, nk.derivatives.RequestedDerivatives),
        (lambda: nk.derivatives.Recorder, nk.derivatives.LayerHook),
    ],
)
def test_a_name_that_moved_is_found(find, found):
    with pytest.warns(DeprecationWarning, match="is now"):
        assert find() is found


@pytest.mark.parametrize(
    ("make", "attribute", "value"),
    [
        (lambda: nk.callbacks.KernelConvergence(every=3), "every_epochs", 3),
        (lambda: nk.callbacks.ExactWeights(every=3), "every_epochs", 3),
        (lambda: nk.callbacks.NTKTensorBoard(kernel_every=2), "kernel_every_epochs", 2),
        (lambda: nk.callbacks.NTKTensorBoard(kernel_points=7), "num_kernel_points", 7),
        (
            lambda: nk.callbacks.SolutionImages("logs", BOX, lambda x: x, every=4),
            "every_epochs",
            4,
        ),
    ],
)
def test_an_argument_that_was_renamed_is_taken(make, attribute, value):
    with pytest.warns(DeprecationWarning, match=f"is now `{attribute}`"):
        assert getattr(make(), attribute) == value


def test_what_is_nowhere_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ntk_keras' has no attribute 'nothing'"):
        nk.nothing  # noqa: B018
