"""Called from several threads, after fork, and in spawned processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys
import threading
import time

import numpy as np
import pytest

import regard
from problems import assert_same_bits, make_problem


def large(rng, **options):
    """Enough work for a call to use every thread it is given."""
    return make_problem(
        rng, batch=(2,), heads=4, queries=300, keys=300, head_dim=64, causal=True, **options
    )


def test_several_threads_at_once(isa, rng):
    problems = [large(rng) for _ in range(6)]
    expected = [p.output_and_lse() for p in problems]
    start = threading.Barrier(6)

    def work(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        start.wait(60)
        return [problems[(n + k) % 6].output_and_lse(num_threads=1 + k % 3) for k in range(6)]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for n, results in enumerate(pool.map(work, range(6), timeout=120)):
            for k, got in enumerate(results):
                assert_same_bits(got, expected[(n + k) % 6])


def test_other_python_threads_run_during_a_call(rng):
    """The GIL is released: another thread gets on while a call computes."""
    problem = make_problem(rng, heads=4, queries=1024, keys=1024, head_dim=64)
    stop = threading.Event()
    turns = 0

    def take_turns() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=take_turns)
    # From here on this thread gives the GIL away only where it chooses to.
    sys.setswitchinterval(1000)
    try:
        thread.start()
        for _ in range(20):
            before = turns
            problem.attention(num_threads=1)
            if turns > before:
                return
        pytest.fail("no other thread ran during a call")
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()


def test_one_out_per_thread(isa, rng):
    problem = large(rng)
    expected = problem.attention()
    outs = [np.full_like(expected, np.nan) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda out: problem.attention(out=out), outs, timeout=120))
    for out in outs:
        assert_same_bits(out, expected)


def test_num_threads_beyond_the_machine(isa, rng):
    problem = large(rng)
    expected = problem.output_and_lse(num_threads=1)
    assert_same_bits(problem.output_and_lse(num_threads=1000), expected)


def _child(problem, expected, sender) -> None:
    """Runs in another process; what it sends back is the test's verdict."""
    try:
        for threads in (None, 2, 1):
            got = problem.attention(num_threads=threads)
            np.testing.assert_array_equal(got, expected)
        sender.send("right")
    except BaseException as error:
        sender.send(repr(error))


def _run_child(context, problem) -> None:
    expected = problem.attention(num_threads=2)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(problem, expected, sender))
    process.start()
    try:
        assert receiver.poll(60), "no answer: the child hangs"
        assert receiver.recv() == "right"
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        process.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_fork(isa, rng):
    """The child has none of the parent's OpenMP threads and must not wait for them."""
    _run_child(multiprocessing.get_context("fork"), large(rng))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_parent_goes_on_after_fork(rng):
    problem = large(rng)
    _run_child(multiprocessing.get_context("fork"), problem)
    assert_same_bits(problem.attention(num_threads=2), problem.attention(num_threads=1))


def test_spawned_process(rng):
    with regard.set_isa(regard.available_isas()[0]):
        _run_child(multiprocessing.get_context("spawn"), large(rng))
