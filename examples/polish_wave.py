"""Adam first, L-BFGS after: the wave of `wave.py` polished with the weights that training found.

    python examples/polish_wave.py

Both parts write to the same history file, checkpoint and TensorBoard folder.
"""

from pathlib import Path

import ntk_keras as nk
from examples.wave import BOX, build, exact

# L-BFGS needs points that stay, and more of them than a step of Adam.
POINTS = {"equation": 2000, "velocity": 300, "initial": 300, "left": 200, "right": 200}


def fixed_points(model, points=None, seed=0):
    """Points of every term, drawn once."""
    counts = POINTS if points is None else points
    boxes = {term.name: term.points.box for term in model.terms}
    return {name: boxes[name].sample(n, "sobol").fixed(seed) for name, n in counts.items()}


def main(epochs=10, polishing_epochs=10, steps=500, width=50, logdir="logs/polish", verbose=2):
    """Trains, polishes, and returns the model and the histories of both."""
    model = build(width, dtype="float64")  # L-BFGS profits from it more than Adam
    grid, folder = BOX.grid(101, 101), Path(logdir)
    common = {
        "validation_data": (grid, exact(grid)),
        "verbose": verbose,
        "callbacks": [
            nk.callbacks.Stopwatch(),
            nk.callbacks.NTKTensorBoard(folder),
            nk.callbacks.HistoryFile(folder / "history.csv"),
            nk.callbacks.Checkpoint(folder / "checkpoint.weights.h5"),
        ],
    }
    trained = model.fit(epochs=epochs, steps_per_epoch=steps, **common).history
    polished = nk.polish(
        model,
        fixed_points(model),
        epochs=polishing_epochs,
        iterations_per_epoch=steps,
        **common,
    ).history
    for name, history in {"Adam": trained, "L-BFGS": polished}.items():
        print(f"relative L2 error after {name}: {history['val_relative_l2'][-1]:.3e}")
    return model, trained, polished


if __name__ == "__main__":
    main()
