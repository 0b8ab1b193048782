from typing import Any, Literal, TypedDict, overload

from numpy.typing import ArrayLike, NDArray

class _Build(TypedDict):
    version: str
    compiler: str
    openmp: str
    openmp_version: str

@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    causal: int,
    window_left: int | None,
    window_right: int | None,
    mask: ArrayLike | None,
    bias: ArrayLike | None,
    key_lengths: ArrayLike | None,
    scale: float | None,
    return_lse: Literal[False],
    out: NDArray[Any] | None,
    num_threads: int | None,
    /,
) -> NDArray[Any]: ...
@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    causal: int,
    window_left: int | None,
    window_right: int | None,
    mask: ArrayLike | None,
    bias: ArrayLike | None,
    key_lengths: ArrayLike | None,
    scale: float | None,
    return_lse: bool,
    out: NDArray[Any] | None,
    num_threads: int | None,
    /,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...
def explain(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    causal: int,
    window_left: int | None,
    window_right: int | None,
    mask: ArrayLike | None,
    bias: ArrayLike | None,
    key_lengths: ArrayLike | None,
    scale: float | None,
    num_threads: int | None,
    /,
) -> dict[str, Any]: ...
def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def set_isa(name: str) -> None: ...
def ceiling(isa: str, dtype: str, threads: int) -> float: ...
def build() -> _Build: ...
def default_threads() -> int: ...
def noop(query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], /) -> None: ...
