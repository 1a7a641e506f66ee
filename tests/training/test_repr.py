"""What objects say of themselves when printed."""

import numpy as np
import pytest

import ntk_keras as nk

BOX = nk.domains.Box(x=(0, 1))
TERM = nk.Term("value", lambda u, x: u(x)[:, 0], BOX.interior(3))

SAID = {
    "a weighting": (
        lambda: nk.weighting.NTK("reverse", trace_floor=1e-3),
        "NTK(estimator=Reverse(probe='rademacher'), averaging_rate=0.001, trace_floor=0.001)",
    ),
    "rules that are not the defaults": (
        lambda: nk.weighting.ReLoBRaLo(memory=0.5, start_at=3),
        "ReLoBRaLo(start_at=3, memory=0.5)",
    ),
    "defaults": (nk.weighting.SoftAdapt, "SoftAdapt()"),
    "constant weights": (lambda: nk.weighting.Constant({"a": 2.0}), "Constant({'a': 2.0})"),
    "a sampler": (
        lambda: BOX.interior(3, "sobol"),
        "BoxSampler(box=Box(x=(0, 1)), num_points=3, method='sobol')",
    ),
    "a block": (lambda: nk.Block(None, np.zeros([4, 2])), "Block(points of shape (4, 2))"),
    "a balancer": (
        lambda: nk.LossBalancer(["a"], "constant"),
        "LossBalancer(['a'], Constant())",
    ),
    "a model": (
        lambda: nk.PINNModel(nk.networks.feedforward(BOX, width=2, depth=1), TERM, "constant"),
        "<PINNModel on ['value'], weighting=Constant()>",
    ),
}


@pytest.mark.parametrize("case", SAID.values(), ids=SAID)
def test_an_object_says_what_it_is(case):
    make, said = case
    assert repr(make()) == said


def test_a_holder_of_state_is_not_called():
    with pytest.raises(TypeError, match="NTK is no layer to be called"):
        nk.weighting.NTK()(1.0)
