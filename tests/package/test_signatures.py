"""Whatever spells options out, or takes them by name, is held against their description."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regard
from regard._call import types
from regard._call.options import CORE, GIVEN, OPTIONS, RESULT, names
from regard.cli import problems

PACKAGE = pathlib.Path(regard.__file__).parent

# (name, annotation, default), in order.
DESCRIBED = [(o.name, o.annotation, o.default) for o in OPTIONS]


def parsed(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def functions(file: str, name: str) -> list[ast.FunctionDef]:
    """All definitions of a function in a file, its overloads first."""
    body = ast.walk(parsed(file))
    return [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]


def keywords(function: ast.FunctionDef) -> list[tuple[str, str, Any]]:
    """Keyword-only parameters: name, annotation and default; `...` if it has none."""
    return [
        (
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            ... if default is None else ast.literal_eval(default),
        )
        for argument, default in zip(
            function.args.kwonlyargs, function.args.kw_defaults, strict=True
        )
    ]


def positional(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]


def test_description_is_sound():
    assert len({o.name for o in OPTIONS}) == len(OPTIONS)
    of_core = [name for o in CORE for name in o.core]
    assert len(set(of_core)) == len(of_core)
    assert names(lambda o: o.kind == "result") == RESULT == ("return_lse", "out")
    assert {o.name for o in CORE} | {"key_mask", "layout"} == GIVEN


def test_attention_shows_what_is_described():
    shown = list(inspect.signature(regard.attention).parameters.values())
    assert [p.name for p in shown[:3]] == ["query", "key", "value"]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in shown[:3])
    assert all(p.kind is p.KEYWORD_ONLY for p in shown[3:])
    assert [(p.name, p.annotation, p.default) for p in shown[3:]] == DESCRIBED


@pytest.mark.parametrize("overload", [0, 1, 2])
def test_overloads_of_attention(overload):
    found = functions("_attention.py", "attention")
    assert len(found) == 4
    assert positional(found[overload]) == ["query", "key", "value"]
    expected = []
    for name, annotation, default in DESCRIBED:
        if name == "return_lse":
            annotation, default = (
                ("Literal[False]", False), ("Literal[True]", ...), ("bool", ...)
            )[overload]  # fmt: skip
        expected.append((name, annotation, default))
    assert keywords(found[overload]) == expected


def test_attention_itself_takes_the_others_by_name():
    attention = functions("_attention.py", "attention")[-1]
    of_result = [entry for entry in DESCRIBED if entry[0] in RESULT]
    assert keywords(attention) == of_result
    assert attention.args.kwarg is not None


def test_documentation_names_all_of_them():
    doc = inspect.getdoc(regard.attention) or ""
    section = doc.split("Parameters\n----------\n")[1].split("\n\nReturns\n")[0]
    lines = [line for line in section.splitlines() if re.match(r"\w.* : ", line)]
    documented = [name for line in lines for name in line.split(" : ")[0].split(", ")]
    assert documented == ["query", "key", "value", *(o.name for o in OPTIONS)]


@pytest.mark.parametrize("definition", [0, 1, 2])
def test_oracle_has_the_same_options(definition):
    """It names types of its own."""
    found = [(name, default) for name, _, default in keywords(
        functions("reference/_attention.py", "attention")[definition]
    )]  # fmt: skip
    expected = [(name, default) for name, _, default in DESCRIBED]
    if definition == 1:
        expected = [(name, ... if name == "return_lse" else default) for name, default in expected]
    assert found == expected


# Options of the core that are none of the user's.
ARGUMENTS = (
    "dropout_elements", "dropout_head", "dropout_query", "dropout_key",
    "cu_seqlens_q", "cu_seqlens_k",
)  # fmt: skip


TYPED: dict[str, Callable[[Any], object]] = {
    "ScoreOptions": lambda o: o.scores,
    "AttentionOptions": lambda o: True,
    "DifferentiableOptions": lambda o: o.gradient != "refused",
    "CachedOptions": lambda o: o.cached != "never",
}


@pytest.mark.parametrize("name", TYPED)
def test_types_of_options(name):
    found = getattr(types, name).__annotations__  # those of its bases included
    described = {o.name: o.annotation for o in OPTIONS if o.kind != "result" and TYPED[name](o)}
    assert {option: t.__forward_arg__ for option, t in found.items()} == described


def test_stub_of_the_core_has_them():
    (options,) = (
        node for node in ast.walk(parsed("_core.pyi"))
        if isinstance(node, ast.ClassDef) and node.name == "_Options"
    )  # fmt: skip
    found = [n.target.id for n in options.body if isinstance(n, ast.AnnAssign)]  # type: ignore
    described = [name for option in CORE for name in option.core]
    assert found == [*described, *ARGUMENTS]
    for function in ("attention", "explain", "backward", "tangent", "weights", "summary"):
        for definition in functions("_core.pyi", function):
            (annotation,) = (
                ast.unparse(a.annotation)
                for a in definition.args.posonlyargs
                if a.arg == "options" and a.annotation is not None
            )
            assert annotation == "_Options | None"


@pytest.mark.parametrize("name", [*(name for o in CORE for name in o.core), *ARGUMENTS])
def test_core_reads_it(name):
    """What it reads, it refuses to take an object of no type for."""
    x = np.ones((1, 1, 2, 4), np.float32)
    given = {name: object()}
    if name == "packed_keys":
        given["packed_mask"] = np.zeros((2, 1), np.uint8)
    with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)):
        regard._core.attention(x, x, x, given, False, None)
    regard._core.attention(x, x, x, {f"no_{name}": object()}, False, None)


# What functions have beside options, as they are called by name.
OWN = {
    "attention": {"query", "key", "value"},
    "varlen_attention": {"query", "key", "value", "cu_seqlens_q", "cu_seqlens_k", *RESULT},
    "attention_weights": {"query", "key", "rows", "keys", "stage"},
    "attention_summary": {"query", "key", "top_k", "pooled"},
    "explain": {"query", "key", "value", "cu_seqlens_q", "cu_seqlens_k", "call", "top_k"},
    "attention_vjp": {"query", "key", "value"},
    "varlen_attention_vjp": {"query", "key", "value", "cu_seqlens_q", "cu_seqlens_k"},
    "attention_backward": {
        "dout", "query", "key", "value", "out", "lse", "dlse", "wrt", "gradients", "accumulate",
    },
    "attention_jvp": {"query", "key", "value", "dquery", "dkey", "dvalue", "return_lse"},
}  # fmt: skip


@pytest.mark.parametrize("function", [name for name in OWN if name != "attention"])
def test_others_spell_out_no_option(function):
    """They take them by name, so there is nothing that could be forgotten."""
    parameters = inspect.signature(getattr(regard, function)).parameters
    assert {p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD} == OWN[function]
    assert parameters["options"].kind is inspect.Parameter.VAR_KEYWORD


def test_keyword_defaults_of_results():
    for function in OWN:
        for p in inspect.signature(getattr(regard, function)).parameters.values():
            if p.name in RESULT and function != "attention_backward":
                assert p.default == {"return_lse": False, "out": None}[p.name]


# Every function with options; a call of each with some more of them.
X = np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)
PACKED = X.swapaxes(0, 1)
STARTS = [0, 1, 3]


def _kv_cache(window: int | None = None) -> regard.KVCache:
    cache = regard.KVCache(1, 2, 4, 8, dtype="float32", window=window)
    cache.append(X[np.newaxis], X[np.newaxis])
    return cache


def _paged(**options: Any) -> object:
    cache = regard.PagedKVCache(4, 4, 2, 4, dtype="float32")
    sequence = cache.allocate()
    cache.append(sequence, PACKED, PACKED)
    return cache.attend(sequence, PACKED, **options)


def _backward(**options: Any) -> object:
    out, lse = regard.attention(X, X, X, return_lse=True)
    return regard.attention_backward(X, X, X, X, out, lse, **options)


def _adapter(library: str) -> Callable[..., object]:
    def call(**options: Any) -> object:
        module = pytest.importorskip(library)
        x = module.from_numpy(X) if library == "torch" else module.numpy.asarray(X)
        __import__(f"regard.{library}")
        return sys.modules[f"regard.{library}"].attention(x, x, x, **options)

    return call


NO_RESULT = frozenset(RESULT)
NO_SCORES = frozenset(names(lambda o: not o.scores))
CACHES = frozenset(names(lambda o: o.cached == "never"))
RINGS = frozenset(names(lambda o: o.cached == "always"))

# What is called, and the options it refuses.
CALLS: dict[str, tuple[Callable[..., object], frozenset[str]]] = {
    "attention": (lambda **o: regard.attention(X, X, X, **o), frozenset()),
    "varlen_attention": (
        lambda **o: regard.varlen_attention(PACKED, PACKED, PACKED, STARTS, STARTS, **o),
        frozenset(),
    ),
    "attention_weights": (lambda **o: regard.attention_weights(X, X, **o), NO_SCORES),
    "attention_summary": (lambda **o: regard.attention_summary(X, X, **o), NO_SCORES),
    "explain": (lambda **o: regard.explain(X, X, X, **o), frozenset()),
    "explain packed": (
        lambda **o: regard.explain(PACKED, PACKED, PACKED, STARTS, STARTS, **o),
        frozenset(),
    ),
    "attention_vjp": (lambda **o: regard.attention_vjp(X, X, X, **o), NO_RESULT),
    "varlen_attention_vjp": (
        lambda **o: regard.varlen_attention_vjp(PACKED, PACKED, PACKED, STARTS, STARTS, **o),
        NO_RESULT,
    ),
    "attention_backward": (_backward, frozenset()),
    "attention_jvp": (lambda **o: regard.attention_jvp(X, X, X, X, **o), frozenset({"out"})),
    "KVCache.attend": (lambda **o: _kv_cache().attend(X[np.newaxis], **o), CACHES),
    "KVCache.attend, ring": (
        lambda **o: _kv_cache(4).attend(X[np.newaxis], **o),
        frozenset(o.name for o in OPTIONS) - RINGS,
    ),
    "PagedKVCache.attend": (_paged, CACHES),
    "torch": (_adapter("torch"), frozenset()),
    "jax": (_adapter("jax"), frozenset()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_all_take_them_but_those_they_refuse(call, option):
    function, refused = CALLS[call]
    if call in ("attention_backward", "torch", "jax") and option.name in RESULT:
        return  # arguments of its own, or found by what is called
    value = option.default
    if "ring" in call and option.name == "causal":
        value = True  # as it always is
    if option.name in refused:
        with pytest.raises(TypeError, match=option.name):
            function(**{option.name: value})
    else:
        function(**{option.name: value})


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("torch", "jax")])
def test_all_refuse_others(call):
    with pytest.raises(TypeError, match="query_scales_of_nothing"):
        CALLS[call][0](query_scales_of_nothing=None)


def test_gradients_are_by_what_is_described():
    inputs = {"query", "key", "value"}
    differentiable = names(lambda o: o.gradient in ("array", "numbers"))
    assert set(regard.Gradients.__annotations__) == inputs | set(differentiable)


@pytest.mark.parametrize("option", CORE, ids=lambda option: option.name)
def test_gradients_are_refused_as_described(option):
    """The value is one that nothing else could refuse before."""
    refused = option.gradient == "refused"
    with pytest.raises(Exception) as raised:  # noqa: PT011
        regard.attention_vjp(X, X, X, **{option.name: object()})
    assert ("no derivatives" in str(raised.value)) == refused


def test_check_draws_them():
    """A kind of problem that `regard check` does not have would never be checked."""
    drawn = [problems.draw(0, index).options for index in range(200)]
    assert set().union(*drawn) == {option.name for option in CORE}
