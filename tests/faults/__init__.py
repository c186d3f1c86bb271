"""Faults and attacks: what is promised under which of them, and the tests that show it.

The rows are in `matrix.py`. A test says with `@pytest.mark.promise("F1")` which row it shows, wherever it is; what is
of interest for nothing else is in this package. `./dev faults` runs them all, and prints the matrix.
"""
