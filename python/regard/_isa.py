"""Which instruction set the kernels use."""

from __future__ import annotations

from types import TracebackType

from regard import _core


def available_isas() -> tuple[str, ...]:
    """Instruction sets that this build and this CPU have, best first.

    Returns
    -------
    tuple of str
        Some of "avx512", "avx2", "neon"; always "generic", last.

    Examples
    --------
    >>> import regard
    >>> regard.available_isas()[-1]
    'generic'
    """
    return tuple(_core.available_isas())


def active_isa() -> str:
    """Instruction set that calls use now.

    Returns
    -------
    str
        The first of `available_isas`, unless the environment variable ``REGARD_ISA`` or
        `set_isa` chose another.

    Examples
    --------
    >>> import regard
    >>> regard.active_isa() in regard.available_isas()
    True
    """
    return _core.active_isa()


class set_isa:
    """Choose the instruction set of later calls, in every thread.

    Takes effect at once; as a context manager it puts the previous choice back at the end.

    Parameters
    ----------
    name : str
        One of `available_isas`.

    Raises
    ------
    ValueError
        The name is not available here; the message lists those that are.

    Examples
    --------
    >>> import regard
    >>> with regard.set_isa("generic"):
    ...     print(regard.active_isa())
    generic
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"set_isa: name is a {type(name).__name__}.\n  Give one of: "
                f"{', '.join(available_isas())}."
            )
        self._previous = _core.active_isa()
        _core.set_isa(name)

    def __enter__(self) -> set_isa:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.set_isa(self._previous)
