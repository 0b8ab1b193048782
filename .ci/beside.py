"""An installed regard in one process with other libraries that have threads of their own.

    python .ci/beside.py    # those of NumPy, PyTorch, scikit-learn, ONNX Runtime that are installed

Imports regard before the others and after them, each in a new process, wakes the threads of all,
and then wants right results, forks that end, and an OpenMP that threadpoolctl commands. Prints what
was there as JSON; ends with 1 and the traceback if something does not hold.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

SECONDS = 60  # until a process counts as hanging
THREADS = 3


def numpy_pool() -> Callable[[], object]:
    """Matrix products of NumPy's BLAS."""
    import numpy as np

    x = np.ones((700, 700), np.float32)
    return lambda: x @ x


def torch_pool() -> Callable[[], object]:
    """Matrix products and sums of PyTorch."""
    import torch

    x = torch.ones(700, 700)
    return lambda: (x @ x).exp().sum()


def sklearn_pool() -> Callable[[], object]:
    """OpenMP loops of scikit-learn."""
    import numpy as np
    from sklearn.cluster import KMeans

    x = np.random.default_rng(0).standard_normal((2000, 8))
    return lambda: KMeans(4, n_init=1, max_iter=5).fit(x)


def onnxruntime_pool() -> Callable[[], object]:
    """Matrix products of ONNX Runtime."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [700, 700])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [700, 700])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "square", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ones = np.ones((700, 700), np.float32)
    return lambda: session.run(None, {"x": ones})


POOLS = {
    "numpy": numpy_pool,
    "torch": torch_pool,
    "sklearn": sklearn_pool,
    "onnxruntime": onnxruntime_pool,
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def check(names: list[str]) -> dict[str, Any]:
    """Alternate with the others, fork and limit; every result is compared with the oracle."""
    for name in names:
        importlib.import_module(name)
    import numpy as np

    import regard
    from regard import reference

    q, k, v = np.random.default_rng(1).standard_normal((3, 8, 400, 64)).astype(np.float32)
    expected = reference.attention(q, k, v, causal=True)

    def attend() -> None:
        out = regard.attention(q, k, v, causal=True)
        np.testing.assert_allclose(out, expected, atol=1e-5)

    regard.set_num_threads(THREADS)
    assert regard.explain(q, k, v).threads == THREADS
    pools = {name: POOLS[name]() for name in names if name in POOLS}
    for _ in range(3):
        for work in pools.values():
            work()
            attend()
    for work in pools.values():  # each has been the last to work before a fork
        work()
        fork(attend)
    attend()
    fork(attend)
    several = [threading.Thread(target=attend) for _ in range(4)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    return {"runtimes": limited(attend)}


def fork(work: Callable[[], None]) -> None:
    """Work in a child, which has none of the threads."""
    if not hasattr(os, "fork"):
        return
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, "the child of a fork has a wrong result"
            return
        time.sleep(0.01)
    os.kill(child, 9)
    raise AssertionError("the child of a fork hangs")


def limited(work: Callable[[], None]) -> list[str]:
    """Libraries of OpenMP in the process; threadpoolctl's limit holds for regard."""
    if find_spec("threadpoolctl") is None:
        return []
    import threadpoolctl

    import regard

    regard.set_num_threads(None)
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert regard.get_num_threads() == 1, "threadpoolctl does not reach regard's OpenMP"
        work()
    found = threadpoolctl.threadpool_info()
    return sorted(os.path.basename(x["filepath"]) for x in found if x["user_api"] == "openmp")


def main() -> int:
    """Run the checks in new processes, in both orders."""
    if len(sys.argv) > 1:
        print(json.dumps(check(sys.argv[1:])))
        return 0
    names = [name for name in POOLS if find_spec(name) is not None]
    found: dict[str, Any] = {
        "beside": {name: version(DISTRIBUTIONS.get(name, name)) for name in names}
    }
    for order in (["regard", *names], [*names, "regard"]):
        run = subprocess.run(
            [sys.executable, __file__, *order], stdout=subprocess.PIPE, text=True,
            timeout=10 * SECONDS,
        )  # fmt: skip
        if run.returncode:
            print(f"failed: {' '.join(order)}", file=sys.stderr)
            return 1
        found |= json.loads(run.stdout)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
