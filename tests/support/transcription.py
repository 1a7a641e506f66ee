"""Algorithms 1 to 3 of the paper, copied line by line into NumPy, to compare the package with.

Names, shapes and order are the paper's: ``R`` maps theta ``[p]`` to the residuals ``[n]``,
``grad_R`` maps it to the p x n matrix whose columns are the gradients of the residuals, and
``blocks`` lists the indices of D, B, ... within the residual. Nothing is fast and nothing comes
from the package. The random vectors are handed in, so that the comparison is free of noise.
"""

from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """What one step of Algorithm 1 or 3 leaves behind."""

    K: np.ndarray
    traces: np.ndarray
    weights: np.ndarray
    theta_next: np.ndarray


def pseudo_inverse(diagonal):
    """The Moore-Penrose inverse of diag(diagonal), written out as a matrix."""
    A = np.zeros((len(diagonal), len(diagonal)))
    for i, entry in enumerate(diagonal):
        if entry != 0:
            A[i, i] = 1 / entry
    return A


def difference_quotient(R, grad_R, theta, g, dt):
    """(R(theta_hat) - R(theta)) / dt, the first half of Algorithm 2."""
    Lambda_pred = np.diag(-g) @ pseudo_inverse(R(theta))
    theta_hat = theta - dt * grad_R(theta) @ Lambda_pred @ R(theta)
    return (R(theta_hat) - R(theta)) / dt


def algorithm_2(R, grad_R, theta, g, dt):
    """Single sample approximation of K(theta)."""
    quotient = difference_quotient(R, grad_R, theta, g, dt)
    K_tilde = np.column_stack([quotient * g[i] for i in range(len(g))])
    return (K_tilde + K_tilde.T) / 2


def block_traces(K, blocks):
    """Tr K_bb of every block."""
    return np.array([np.trace(K[np.ix_(block, block)]) for block in blocks])


def loss_weights(K, blocks):
    """Equations (5) and (12): Tr K / Tr K_bb."""
    return np.trace(K) / block_traces(K, blocks)


def gradient_descent(R, grad_R, theta, weights, blocks, eta):
    """Equation (4), the corrector: theta - eta grad_R Lambda R."""
    Lambda = np.zeros((len(R(theta)), len(R(theta))))
    for weight, block in zip(weights, blocks, strict=True):
        Lambda[block, block] = weight
    return theta - eta * grad_R(theta) @ Lambda @ R(theta)


def algorithm_1(R, grad_R, theta, blocks, eta, n, T):
    """Gradient descent with exact weights, computed anew at every n-th of T steps."""
    steps = []
    for t in range(T):
        if t % n == 0:
            K = grad_R(theta).T @ grad_R(theta)
            weights = loss_weights(K, blocks)
        theta = gradient_descent(R, grad_R, theta, weights, blocks, eta)
        steps.append(Step(K, block_traces(K, blocks), weights, theta))
    return steps


def algorithm_3(R, grad_R, theta, blocks, eta, alpha, dt, initial_probes, probes):
    """Moving average approximation of K; one step, and then one for each of ``probes``."""
    samples = [algorithm_2(R, grad_R, theta, g, dt) for g in initial_probes]
    K = sum(samples) / len(samples)
    weights = loss_weights(K, blocks)
    theta = gradient_descent(R, grad_R, theta, weights, blocks, eta)
    steps = [Step(K, block_traces(K, blocks), weights, theta)]
    for g in probes:
        K = (1 - alpha) * K + alpha * algorithm_2(R, grad_R, theta, g, dt)
        weights = loss_weights(K, blocks)
        theta = gradient_descent(R, grad_R, theta, weights, blocks, eta)
        steps.append(Step(K, block_traces(K, blocks), weights, theta))
    return steps


def quadratic_data(num_points=50, seed=0):
    """The regression data (x, y) of Section 5.2.1; the noise has variance 1/2."""
    x = np.linspace(-1, 1, num_points)
    noise = np.random.default_rng(seed).normal(0, np.sqrt(0.5), num_points)
    return x, np.pi * x**2 + np.e * x + np.sqrt(2) + noise


def quadratic_predictor(x, y):
    """R and grad_R of Section 5.2.1: (theta * theta) . (1, x, x^2) - y."""
    u = np.stack([np.ones_like(x), x, x**2])

    def residual(theta):
        return (theta * theta) @ u - y

    def gradient(theta):
        return 2 * theta[:, np.newaxis] * u

    return residual, gradient
