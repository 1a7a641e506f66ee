"""Names that the package defines, and settings that a flag may change."""

__all__ = [
    "BENCH_WAYS",
    "COMPARISONS",
    "ESTIMATORS",
    "FIGURES",
    "FIGURE_PRESETS",
    "OPTIMIZERS",
    "OVERRIDES",
    "PRESETS",
    "PROBLEMS",
    "WEIGHTINGS",
]

# Names that the package defines; tests/experiments/test_cli.py compares them with it.
PROBLEMS = (
    "advection_diffusion",
    "allen_cahn",
    "burgers",
    "cavity",
    "convection",
    "heat_1d",
    "heat_inverse",
    "helmholtz",
    "kdv",
    "kuramoto_sivashinsky",
    "liquid_crystal",
    "poisson",
    "poisson_10d",
    "poisson_2d",
    "poisson_5d",
    "quadratic",
    "reaction",
    "robertson",
    "van_der_pol",
    "wave",
)
PRESETS = ("quick", "paper", "natural-gradient")
OPTIMIZERS = ("adam", "sgd", "natural-gradient")
WEIGHTINGS = (
    "constant",
    "ntk",
    "exact-ntk",
    "gradient-norm",
    "softadapt",
    "relobralo",
    "uncertainty",
    "self-adaptive",
    "residual-attention",
)
BENCH_WAYS = ("adam-constant", "adam-ntk", "natural-gradient")
COMPARISONS = ("all", "estimators")
ESTIMATORS = (
    "predictor",
    "block-predictor",
    "product",
    "reverse",
    "diagonal",
    "perturbation",
    "exact",
)
FIGURES = tuple(range(1, 11))
FIGURE_PRESETS = ("quick", "paper")

# Settings that a flag may change: its type, its placeholder and its help.
OVERRIDES: dict[str, tuple[type, str, str]] = {
    "steps": (int, "N", "number of training steps"),
    "width": (int, "N", "number of neurons in each hidden layer"),
    "depth": (int, "N", "number of hidden layers"),
    "activation": (str, "NAME", "activation of hidden layers: sin, sin_tanh, or a name of Keras"),
    "dtype": (str, "NAME", "precision of the network: float32 or float64"),
    "learning_rate": (float, "RATE", "learning rate at the start"),
    "lbfgs_steps": (int, "N", "number of L-BFGS iterations after training, best in float64"),
    "estimator": (
        str,
        "NAME",
        f"estimator of the kernel traces, with ntk weights: {', '.join(ESTIMATORS)}",
    ),
    "averaging_rate": (float, "ALPHA", "rate of the moving average of traces, with ntk weights"),
    "num_initial_probes": (int, "N", "number of samples in the first average, with ntk weights"),
    "update_every": (int, "N", "number of steps from one update of the loss weights to the next"),
    "steps_per_epoch": (
        int,
        "N",
        "number of steps from one row of the history, and one checkpoint, to the next; --steps "
        "must be a multiple of it",
    ),
}
