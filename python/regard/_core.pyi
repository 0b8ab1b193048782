from typing import Any, Literal, TypeAlias, TypedDict, overload

from numpy.typing import ArrayLike, NDArray

class _Build(TypedDict):
    version: str
    compiler: str
    openmp: str
    openmp_version: str

# What regard._call.conversions.core_options makes; None is a plain call.
_Options: TypeAlias = dict[str, Any] | None

@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options,
    return_lse: Literal[False],
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any]: ...
@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options,
    return_lse: bool,
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...
def backward(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options,
    out: NDArray[Any],
    lse: NDArray[Any],
    dout: NDArray[Any],
    dlse: NDArray[Any] | None,
    gradients: dict[str, NDArray[Any]],
    accumulate: bool,
    /,
) -> None: ...
def tangent(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options,
    dquery: NDArray[Any] | None,
    dkey: NDArray[Any] | None,
    dvalue: NDArray[Any] | None,
    /,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def explain(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, options: _Options, /
) -> dict[str, Any]: ...
def weights(
    query: ArrayLike,
    key: ArrayLike,
    options: _Options,
    rows: list[int],
    first_key: int,
    last_key: int,
    /,
) -> NDArray[Any]: ...
def summary(
    query: ArrayLike,
    key: ArrayLike,
    options: _Options,
    top_k: int,
    query_cells: int,
    key_cells: int,
    /,
) -> dict[str, NDArray[Any]]: ...
def store(source: NDArray[Any], target: NDArray[Any], scales: NDArray[Any] | None, /) -> None: ...
def bits_of_bfloat16(tensor: Any, /) -> NDArray[Any]: ...
def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def set_isa(name: str) -> None: ...
def ceiling(isa: str, dtype: str, threads: int) -> float: ...
def read_bandwidth(bytes: int, threads: int) -> float: ...
def build() -> _Build: ...
def default_threads() -> int: ...
def noop(query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], /) -> None: ...
