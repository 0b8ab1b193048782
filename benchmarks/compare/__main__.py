"""``python -m benchmarks.compare``, from the root of the repository."""

from __future__ import annotations

import sys

from benchmarks.compare.command import main

if __name__ == "__main__":
    sys.exit(main())
