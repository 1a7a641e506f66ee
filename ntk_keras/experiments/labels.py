"""What tables, figures and progress call a run."""

from collections.abc import Iterable

from ntk_keras.problems import Settings

__all__ = ["label", "title"]


def label(settings: Settings, beside: Iterable[Settings] = ()) -> str:
    """Returns the name of a weighting, and of the optimizer if several are compared.

    Args:
        settings: settings of a run.
        beside: settings of all runs that it is compared with.
    """
    name = settings.weighting
    if name == "ntk":
        name += f", {settings.estimator_label}"
    if any(other.optimizer != settings.optimizer for other in beside):
        name = f"{settings.optimizer}, {name}"
    return name if settings.redrawn else f"{name}, fixed points"


def title(settings: Settings, beside: Iterable[Settings] = (), place: str = "") -> str:
    """Returns problem, weighting and seed of a run in one line.

    Args:
        settings: settings of the run.
        beside: settings of all runs that it is compared with.
        place: place of the seed among others, such as ``"2 of 3"``.
    """
    seed = f"seed {settings.seed}" + (f" ({place})" if place else "")
    return f"{settings.problem}, {label(settings, beside)}, {seed}"
