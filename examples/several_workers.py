"""One training shared by several processes, which survives the death of any of them.

Every worker draws points of its own at each step, traces and gradients are summed over the network,
and all workers hold the same weights. A supervisor starts the workers, and all of them again when
one dies; they go on from the last epoch they finished. Here the workers are processes of one
machine. On a cluster its scheduler is the supervisor: the worker's part is the same.

    python -m examples.several_workers --workers 2 --epochs 20 --folder logs/workers
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

STEPS = 20  # in an epoch


def work(index: int, ports: list[int], folder: Path, epochs: int) -> None:
    """One worker's part; the first writes the result."""
    # TensorFlow reads the addresses of all workers, and the own place among them, when it starts.
    addresses = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})

    import keras
    import tensorflow as tf

    import ntk_keras as nk

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    keras.utils.set_random_seed(0)
    box = nk.domains.Box(x=(0, 1))

    def equation(u, x):  # u'' = -pi^2 sin(pi x)
        return nk.derivatives.laplacian(u, x)[:, 0] + 9.8696 * tf.sin(3.14159265 * x[:, 0])

    with strategy.scope():
        terms = [
            nk.Term("equation", equation, box.interior(50)),
            nk.Term("boundary", lambda u, x: u(x)[:, 0], box.boundary(2)),
        ]
        model = nk.PINNModel(nk.networks.feedforward(box, width=20), terms, weighting="ntk", seed=0)
        model.compile(keras.optimizers.Adam(1e-3))
    checkpoint = nk.callbacks.Checkpoint(folder / "state.weights.h5")  # the first worker writes
    model.fit(
        initial_epoch=checkpoint.restore(model),
        epochs=epochs,
        steps_per_epoch=STEPS,
        callbacks=[checkpoint],
        verbose=0,
    )
    x = box.grid(100)
    error = model.evaluate(x, tf.sin(3.14159265 * x), verbose=0)
    result = {"relative L2": error, **model.loss_weights}
    (folder / f"result-{index}.json").write_text(json.dumps(result))


def supervise(num_workers: int, folder: Path, epochs: int, restarts: int = 3) -> int:
    """Runs the workers to their end; returns how often they were started again."""
    for restart in range(restarts + 1):
        ports = free_ports(num_workers)
        options = ["--folder", str(folder), "--epochs", str(epochs), "--ports", *map(str, ports)]
        workers = [
            subprocess.Popen([sys.executable, __file__, "--index", str(index), *options])
            for index in range(num_workers)
        ]
        for index, worker in enumerate(workers):
            (folder / f"worker-{index}.pid").write_text(str(worker.pid))
        while all(worker.poll() in (None, 0) for worker in workers):
            if all(worker.poll() == 0 for worker in workers):
                return restart
            time.sleep(0.1)
        for worker in workers:  # those left would wait for the dead one
            worker.kill()
            worker.wait()
    raise RuntimeError(f"Workers died {restarts + 1} times. Their last words are above.")


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main(arguments: list[str] | None = None) -> None:
    """Supervises workers, or is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("logs/workers"))
    parser.add_argument("--index", type=int, help="the part of one worker, for the supervisor")
    parser.add_argument("--ports", type=int, nargs="+", help="of all workers, for the supervisor")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.index is not None:
        work(options.index, options.ports, options.folder, options.epochs)
        return
    restarts = supervise(options.workers, options.folder, options.epochs)
    print((options.folder / "result-0.json").read_text(), f"after {restarts} restarts")


if __name__ == "__main__":
    main()
