"""The rivals' formulas, copied from their papers into NumPy, to compare the package with.

Losses, weights and gradients come as the papers have them: ``L[b]`` is the loss of group b without
its weight, ``gradients[b]`` its gradient, r and a weights and residuals point by point. Each
function is one update. What the papers leave to automatic differentiation is differentiated here
too, so that no derivative is copied from the package.
"""

import numpy as np


def derivative(f, x):
    """df/dx of a function of numbers one by one, by a complex step: exact to rounding."""
    step = 1e-30
    return np.imag(f(x + 1j * step)) / step


# Wang, Teng, Perdikaris (2021), Algorithm 1.


def learning_rate_annealing(lambdas, gradients, alpha, r):
    """(a) and (b) of Algorithm 1 for every loss but that of the residual, L_r.

    The gradients are those of the losses alone; the authors' code has lambda_i L_i below the bar.
    """
    updated = np.ones(len(lambdas))
    for i in range(len(lambdas)):
        if i != r:
            lambda_hat = np.max(np.abs(gradients[r])) / np.mean(np.abs(gradients[i]))
            updated[i] = (1 - alpha) * lambdas[i] + alpha * lambda_hat
    return updated


# Heydari, Thompson, Mehmood (2019).


def softadapt(L, L_before, beta, normalized, loss_weighted):
    """alpha_k = exp(beta s_k) / sum_l exp(beta s_l), s the change of a loss, and its variants."""
    s = L - L_before
    if normalized:
        s = s / np.sum(np.abs(s))
    factors = L if loss_weighted else np.ones(len(L))
    numerators = factors * np.exp(beta * s)
    return numerators / np.sum(numerators)


# Bischof, Kraus (2021).


def balance(L, L_then, T):
    """lambda_bal(t, t') = m exp(L_i(t) / (T L_i(t'))) / sum_j exp(L_j(t) / (T L_j(t')))."""
    exponentials = np.exp(L / (T * L_then))
    return len(L) * exponentials / np.sum(exponentials)


def relobralo(lambdas, L, L_before, L_0, T, alpha, rho):
    """lambda_hist = rho lambda(t-1) + (1-rho) lambda_bal(t, 0), then the decay."""
    history = rho * lambdas + (1 - rho) * balance(L, L_0, T)
    return alpha * history + (1 - alpha) * balance(L, L_before, T)


# Kendall, Gal, Cipolla (2018); Xiang, Peng, Liu, Yao (2022).


def negative_log_likelihood(s, mean_squares):
    """1/(2 sigma^2) MSE + log sigma, up to a constant, with s = log sigma^2."""
    sigma = np.exp(s / 2)
    return mean_squares / (2 * sigma**2) + np.log(sigma)


# McClenny, Braga-Neto (2023).


def masked_loss(masks, r, q):
    """1/2 m(lambda) r^2 of every point, with the mask m(lambda) = lambda^q."""
    return masks**q * r**2 / 2


# Anagnostopoulos, Toscano, Stergiopulos, Karniadakis (2024).


def attention(lambdas, r, gamma, eta):
    """lambda_i <- gamma lambda_i + eta |r_i| / max_j |r_j|."""
    return gamma * lambdas + eta * np.abs(r) / np.max(np.abs(r))


# What descends or ascends.


class Descent:
    """x - rate * gradient."""

    def __init__(self, rate):
        self.rate = rate

    def step(self, x, gradient):
        return x - self.rate * gradient


class Adam:
    """Kingma, Ba (2015), Algorithm 1, in the form with epsilon outside the bias correction.

    That form, alpha_t = alpha sqrt(1 - beta_2^t) / (1 - beta_1^t), is the one at the end of the
    paper's Section 2, which Keras follows.
    """

    def __init__(self, rate, beta_1, beta_2, epsilon):
        self.rate, self.beta_1, self.beta_2, self.epsilon = rate, beta_1, beta_2, epsilon
        self.t, self.m, self.v = 0, 0.0, 0.0

    def step(self, x, gradient):
        self.t += 1
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * gradient
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * gradient**2
        rate = self.rate * np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        return x - rate * self.m / (np.sqrt(self.v) + self.epsilon)
