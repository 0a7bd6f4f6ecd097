"""Real hosts on one Linux machine, for the demo, the tests and the benchmarks. See ``python -m lab --help``."""
