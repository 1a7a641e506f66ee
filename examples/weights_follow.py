"""Do the sketched weights follow the exact ones? Figure 8 of the paper, at a laptop's size.

Trains the wave problem with Algorithm 3, a probe for each term, and computes the exact weights
beside it, at the same parameters and points, after every epoch.

    python -m examples.weights_follow
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from examples.wave import build


class ExactWeights(keras.callbacks.Callback):
    """Records the exact and the estimated weights after every epoch, by group."""

    def on_train_begin(self, logs=None):
        """Starts anew."""
        self.steps, self.exact, self.estimated = [], [], []
        model = self.model
        self.traces = tf.function(
            lambda: nk.kernel.traces(model.blocks(), model.trainable_variables), autograph=False
        )

    def on_epoch_end(self, epoch, logs=None):
        """Computes Tr K / Tr K_bb, every residual's gradient included."""
        weighting = self.model.weighting
        traces = weighting.pool(self.traces())
        self.exact.append(nk.weighting.weights_from_traces(traces).numpy())
        self.estimated.append(weighting.loss_weights.value.numpy())
        self.steps.append(int(self.model.optimizer.iterations))


def main(epochs=50, steps_per_epoch=100, width=50, figure="logs/weights.png", verbose=2):
    """Trains; returns steps, exact and estimated weights ``[epochs, groups]`` and group names."""
    weighting = nk.weighting.NTK("block-predictor", averaging_rate=1e-2)
    model = build(width, weighting=weighting)
    recorder = ExactWeights()
    model.fit(epochs=epochs, steps_per_epoch=steps_per_epoch, callbacks=[recorder], verbose=verbose)
    steps, groups = np.array(recorder.steps), model.weighting.groups
    exact, estimated = np.array(recorder.exact), np.array(recorder.estimated)
    for index, group in enumerate(groups):
        deviation = np.abs(estimated[:, index] / exact[:, index] - 1)
        print(f"{group}: median {np.median(deviation):.1%}, worst {np.max(deviation):.1%} off")
    if figure:
        by_group = [dict(zip(groups, values.T, strict=True)) for values in (exact, estimated)]
        Path(figure).parent.mkdir(parents=True, exist_ok=True)
        nk.plots.curves(steps, *by_group).savefig(figure, dpi=120)
    return steps, exact, estimated, groups


if __name__ == "__main__":
    main()
