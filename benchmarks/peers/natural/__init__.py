"""Natural gradients beside those of JAX: the kernel, a step, and errors over seconds.

Each package has a process of its own, and all begin with the same network::

    python -m benchmarks.peers.natural --install-only      # once: makes the environments
    python -m benchmarks.peers.natural --study kernel      # K of 900 and of 4320 residuals
    python -m benchmarks.peers.natural --study step        # one step on the wave
    python -m benchmarks.peers.natural --study training    # errors on the wave by seconds

JAX has rows of J by ``jacrev``, as its users write them; jinns its own optimizer.
"""
