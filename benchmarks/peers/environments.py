"""The packages and their virtual environments, which ``pip`` creates from pinned requirements."""

import dataclasses
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
DEFAULT_FOLDER = Path.home() / ".cache" / "ntk_keras-peers"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A package that is measured.

    Attributes:
        title: name of the package in tables.
        module: module of the worker.
        requirements: name of the requirements file in :data:`REQUIREMENTS`; None for a package that
            runs in the current environment.
        variables: environment variables of the worker.
    """

    title: str
    module: str
    requirements: str | None = None
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


PEERS: dict[str, Peer] = {
    "ours": Peer("ntk_keras", "benchmarks.peers.ours"),
    "deepxde-tensorflow": Peer(
        "DeepXDE on TensorFlow",
        "benchmarks.peers.deepxde",
        "deepxde-tensorflow.txt",
        {"DDE_BACKEND": "tensorflow"},
    ),
    "deepxde-pytorch": Peer(
        "DeepXDE on PyTorch",
        "benchmarks.peers.deepxde",
        "deepxde-pytorch.txt",
        {"DDE_BACKEND": "pytorch"},
    ),
    "pina": Peer("PINA", "benchmarks.peers.pina", "pina.txt"),
    "jax": Peer("JAX in jaxpi's style", "benchmarks.peers.jax_style", "jax.txt"),
}


def python_of(name: str, folder: Path, peers: Mapping[str, Peer] = PEERS) -> Path:
    """Returns the interpreter of a peer's environment, or the current one if it has none."""
    if peers[name].requirements is None:
        return Path(sys.executable)
    return folder / name / "bin" / "python"


def is_installed(name: str, folder: Path, peers: Mapping[str, Peer] = PEERS) -> bool:
    """Whether a peer's environment was created from the current requirements."""
    file = peers[name].requirements
    marker = folder / name / "requirements.txt"
    return file is None or (
        marker.exists() and marker.read_text() == (REQUIREMENTS / file).read_text()
    )


def install(name: str, folder: Path, peers: Mapping[str, Peer] = PEERS) -> None:
    """Creates a peer's environment unless it exists.

    Raises:
        subprocess.CalledProcessError: if ``pip`` fails.
    """
    file = peers[name].requirements
    if file is None or is_installed(name, folder, peers):
        return
    requirements = REQUIREMENTS / file
    print(f"Installing {peers[name].title} into {folder / name}", flush=True)
    venv.create(folder / name, clear=True, with_pip=True)
    command = [python_of(name, folder, peers), "-m", "pip", "install", "-q", "-r", requirements]
    subprocess.run(list(map(str, command)), check=True)
    # This comes last, so that an interrupted installation is repeated.
    (folder / name / "requirements.txt").write_text(requirements.read_text())
