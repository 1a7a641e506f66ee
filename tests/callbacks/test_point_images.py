"""Pictures of where moving points are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.callbacks import PointImages
from tests.support.models import build, fit, network, still, value

BOX = nk.domains.Box(t=(0, 1), x=(0, 1))


def model(points, inputs=2, residual=value):
    return build(
        [nk.Term("equation", residual, points)],
        net=network(inputs=inputs),
        optimizer=still(),
        compiled={"run_eagerly": True},
    )


def test_points_are_drawn_beside_the_scalars_in_one_file(tmp_path):
    trained = model(nk.domains.R3(BOX.interior(20)))
    images = PointImages(tmp_path, max_share=1, every_epochs=2)
    scalars = nk.callbacks.NTKTensorBoard(tmp_path, max_share=1)
    fit(trained, epochs=2, callbacks=[images, scalars])
    (path,) = tmp_path.glob("events*")
    drawn = {
        event.step: tf.make_ndarray(value.tensor)
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "points/equation"
    }
    assert list(drawn) == [1, 2]
    figure = nk.plots.points(trained.current_points()["equation"], ["t", "x"])
    picture = tf.io.decode_png(drawn[2][2]).numpy()
    np.testing.assert_array_equal(picture, nk.plots.to_array(figure))


def test_chosen_axes_of_points_with_normals_are_drawn(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(nk.plots, "points", lambda *figure: drawn.append(figure) or still)
    monkeypatch.setattr(nk.plots, "to_array", lambda figure: np.zeros((2, 2, 4), np.uint8))
    sides = nk.domains.RAD(BOX.boundary(8, normals=True))
    trained = model(sides, residual=lambda u, points: value(u, points[0]))
    fit(trained, callbacks=[PointImages(tmp_path, axes=["x"])])
    values, names = drawn[-1]
    assert names == ("x",)
    assert PointImages(tmp_path, axes="time").axes == ("time",)
    np.testing.assert_array_equal(values, trained.current_points()["equation"][0][:, 1:])


REFUSED = {
    "points that do not move": (BOX.interior(4), {}, r"no term has any.*nk.domains.RAD\(box"),
    "an axis they lack": (
        nk.domains.R3(BOX.interior(4)),
        {"axes": ["y"]},
        r"have the axes \['t', 'x'\].*they lack \['y'\]",
    ),
    "too many axes": (
        nk.domains.R3(nk.domains.Ball([0.0] * 5, 1.0).interior(4)),
        {},
        "one to four axes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused_before_training(case, tmp_path):
    points, options, message = REFUSED[case]
    trained = model(points, 5 if "many" in case else 2)
    with pytest.raises(ValueError, match=message):
        fit(trained, callbacks=[PointImages(tmp_path, **options)])
    assert int(keras.ops.convert_to_numpy(trained.optimizer.iterations)) == 0
    with pytest.raises(ValueError, match="every_epochs must be"):
        PointImages(tmp_path, every_epochs=0)
