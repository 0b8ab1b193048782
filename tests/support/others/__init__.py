"""Functions of other libraries as their documentation defines them, in float64 NumPy.

The pages docs/coming-from/ show each call beside the one of regard that has its result; the tests
run both. Where a library itself is installed, they run it as well.
"""
