"""The peers on the problems of the bench, each for the same number of seconds.

python -m benchmarks.peers.bench --problems burgers kdv --seeds 0
"""
