from typing import Any, Literal, TypeAlias, TypedDict, overload

from numpy.typing import ArrayLike, NDArray

class _Build(TypedDict):
    version: str
    compiler: str
    openmp: str
    openmp_version: str

class _ThreadChoice(TypedDict):
    number: int
    reason: str
    set: int | None
    openmp: int
    thread_limit: int | None
    cgroup_quota: float | None
    processors: int

_OneOrOfHeads: TypeAlias = float | list[float]
_Array: TypeAlias = Any  # array_like

# What regard._call.core_options makes; what is not there is as in a plain call.
class _Options(TypedDict, total=False):
    causal: int
    window_left: int | list[int]
    window_right: int | list[int]
    mask: _Array
    block_mask: Any
    packed_mask: NDArray[Any]
    packed_keys: int
    bias: _Array
    position_bias: tuple[NDArray[Any], int, int]
    score_mod: tuple[Any, Any, Any]
    score_mod_gradient: tuple[Any, Any, Any]
    key_lengths: _Array
    query_lengths: _Array
    query_offset: _Array
    block_table: _Array
    key_scales: _Array
    value_scales: _Array
    scale: _OneOrOfHeads
    query_scale: NDArray[Any]
    softcap: _OneOrOfHeads
    alibi_slopes: NDArray[Any]
    sinks: _OneOrOfHeads
    cosine: bool
    dropout: float
    seed: int
    num_threads: int
    # Where a part of a larger call lies in it, for its dropout.
    dropout_elements: _Array
    dropout_head: int
    dropout_query: int
    dropout_key: int
    # Packed pieces are no option of users, but arguments of their own.
    cu_seqlens_q: _Array
    cu_seqlens_k: _Array

@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options | None,
    return_lse: Literal[False],
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any]: ...
@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options | None,
    return_lse: bool,
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...
def backward(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options | None,
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
    options: _Options | None,
    dquery: NDArray[Any] | None,
    dkey: NDArray[Any] | None,
    dvalue: NDArray[Any] | None,
    /,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def explain(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: _Options | None,
    run: str,
    top_k: int,
    /,
) -> dict[str, Any]: ...
def weights(
    query: ArrayLike,
    key: ArrayLike,
    options: _Options | None,
    rows: list[int],
    first_key: int,
    last_key: int,
    stage: int,
    /,
) -> NDArray[Any]: ...
def summary(
    query: ArrayLike,
    key: ArrayLike,
    options: _Options | None,
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
def ffi_targets(major_version: int, minor_version: int, /) -> dict[str, Any]: ...
def build() -> _Build: ...
def default_threads() -> int: ...
def set_num_threads(threads: int | None, /) -> None: ...
def thread_choice() -> _ThreadChoice: ...
def cgroup_quota(root: str) -> float | None: ...
def noop(query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], /) -> None: ...
