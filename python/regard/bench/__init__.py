"""The benchmark behind ``regard bench``: speed and error, beside what the machine can do.

Examples
--------
>>> from regard import bench
>>> report = bench.run(bench.Options(pattern="smallest-call", seconds=0.01, seed=0))
>>> report.rows[0].case.shape
'1x1x4x2'
"""

from __future__ import annotations

from regard.bench.report import Report
from regard.bench.runner import Options, run

__all__ = ["Options", "Report", "run"]
