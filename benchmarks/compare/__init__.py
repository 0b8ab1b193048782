"""regard beside other libraries, and beside what each case is meant to reach.

Built on the cases and the timing of :mod:`regard.bench`, and not part of the package. From the root
of the repository::

    python -m benchmarks.compare --rivals torch,onnxruntime --record
    python -m benchmarks.compare.pages    # rewrites the tables of the documentation from those
"""
