"""Sketches of a kernel that one can look at: Section 5.2.1 of the paper, Figures 5 to 7 in numbers.

Three parameters, 50 residuals. First, how the error of the mean of N sketches falls with N at the
start; then Algorithm 3, whose moving average follows the kernel while it grows tenfold.

    python examples/quadratic.py
"""

import dataclasses

import numpy as np
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.problems import build_model
from ntk_keras.problems.quadratic import PROBLEM, exact_kernel


def sketches(model, number, seed):
    """Independent samples of the kernel by Algorithm 2, ``[number, n, n]``."""
    linearization = nk.Linearization(model.blocks(), model.trainable_variables)
    estimator = nk.estimators.Predictor()
    return tf.map_fn(
        lambda index: estimator.kernel(linearization, tf.stack([seed, index])),
        tf.range(number),
        fn_output_signature=tf.float64,
    )


def kernel_of(model):
    """The exact kernel at the present parameters, by formula."""
    (samples, _), theta = model.blocks()["data"].points, model.trainable_variables[0]
    return exact_kernel(samples.numpy(), theta.numpy())


def monte_carlo(model, sizes, repeats):
    """Mean squared errors of kernel and trace by N, over those that theory gives, ``[sizes, 2]``.

    For one Gaussian sketch E||K^ - K||_F^2 = ((n + 2) ||K||_F^2 + (Tr K)^2) / 2, and the variance
    of its trace is 2 ||K||_F^2; the mean of N divides both by N (Theorem 4).
    """
    K = kernel_of(model)
    trace, square = np.trace(K), np.sum(K**2)
    expected = np.array([((len(K) + 2) * square + trace**2) / 2, 2 * square])
    draw = tf.function(lambda number, seed: tf.reduce_mean(sketches(model, number, seed), axis=0))
    ratios = []
    for first, size in enumerate(sizes):
        seeds = range(first * repeats, (first + 1) * repeats)
        means = [draw(tf.constant(size), tf.constant(seed)).numpy() for seed in seeds]
        errors = [(np.sum((mean - K) ** 2), (np.trace(mean) - trace) ** 2) for mean in means]
        ratios.append(np.mean(errors, axis=0) / (expected / size))
    return np.array(ratios)


def main(sizes=(10, 100, 1000), repeats=100, steps=10_000, averaging_rate=1e-3, verbose=2):
    """Returns :func:`monte_carlo`'s ratios, theta * theta, and the average's relative error."""
    settings = dataclasses.replace(
        PROBLEM.presets["quick"], steps=steps, averaging_rate=averaging_rate
    )
    model = build_model(PROBLEM, settings)
    ratios = monte_carlo(model, sizes, repeats)
    slopes = np.polyfit(np.log(sizes), np.log(ratios / np.array(sizes)[:, None]), 1)[0]
    print("mean squared error over its theory, of kernel and trace, by N:")
    for size, (kernel, trace) in zip(sizes, ratios, strict=True):
        print(f"  {size:5d}  {kernel:.3f}  {trace:.3f}")
    print("slopes in N:", slopes)

    model.fit(epochs=settings.epochs, steps_per_epoch=settings.steps_per_epoch, verbose=verbose)
    K, average = kernel_of(model), model.weighting.kernel.value.numpy()
    error = np.linalg.norm(average - K) / np.linalg.norm(K)
    coefficients = model.trainable_variables[0].numpy() ** 2
    print("coefficients of 1, x, x^2:", coefficients)
    print("largest entry of the kernel:", K.max(), "relative error of the average:", error)
    return ratios, coefficients, error


if __name__ == "__main__":
    main()
