"""Names of the version before: they work, and warn of what takes their place."""

import pytest

import ntk_keras as nk
from ntk_keras.experiments import runs

BOX = nk.domains.Box(x=(0, 1))


@pytest.mark.parametrize(
    ("find", "found"),
    [
        (lambda: nk.probes, nk.estimators.probes),
        (lambda: nk.runs, runs),
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


def test_members_are_read_by_the_names_they_had():
    term = nk.Term("value", lambda u, x: u(x)[:, 0], BOX.interior(3))
    network = nk.networks.feedforward(BOX, width=2, depth=1)
    model = nk.PINNModel(network, term, nk.weighting.SoftAdapt())
    block = model.blocks()["value"]
    with pytest.warns(DeprecationWarning, match="present_logs` is now `current_logs`"):
        assert model.present_logs().keys() == model.current_logs().keys()
    with pytest.warns(DeprecationWarning, match="present` is now `current_weights`"):
        assert model.weighting.present().shape == model.weighting.current_weights().shape
    with pytest.warns(DeprecationWarning, match="recorded` is now `with_hook`"):
        assert block.recorded is block.with_hook
    with pytest.warns(DeprecationWarning, match="recorded_for` is now `hooked_variables`"):
        assert block.recorded_for is block.hooked_variables


def test_what_is_nowhere_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ntk_keras' has no attribute 'nothing'"):
        nk.nothing  # noqa: B018
