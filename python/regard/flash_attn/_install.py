"""The functions under the name ``flash_attn``, for code that imports that package."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from regard.flash_attn import bert_padding
from regard.flash_attn._dense import (
    flash_attn_func,
    flash_attn_kvpacked_func,
    flash_attn_qkvpacked_func,
)
from regard.flash_attn._kvcache import flash_attn_with_kvcache
from regard.flash_attn._varlen import (
    flash_attn_varlen_func,
    flash_attn_varlen_kvpacked_func,
    flash_attn_varlen_qkvpacked_func,
)

#: Of the package whose arguments and results these are; what follows the + tells it from that.
VERSION = "2.8.4+regard"

_NAME = "flash_attn"
_FUNCTIONS = (
    flash_attn_func,
    flash_attn_kvpacked_func,
    flash_attn_qkvpacked_func,
    flash_attn_varlen_func,
    flash_attn_varlen_kvpacked_func,
    flash_attn_varlen_qkvpacked_func,
    flash_attn_with_kvcache,
)
_PADDING = (
    bert_padding.index_first_axis,
    bert_padding.index_put_first_axis,
    bert_padding.pad_input,
    bert_padding.unpad_input,
    bert_padding.unpad_input_for_concatenated_sequences,
)


def install() -> None:
    """Let ``import flash_attn`` find these functions, from now on in this process.

    There are ``flash_attn`` with its functions and ``__version__``, ``flash_attn.bert_padding`` and
    ``flash_attn.flash_attn_interface``; no layers, losses or models. Calling it again changes
    nothing.

    Raises
    ------
    ImportError
        There is a package of that name already.

    See Also
    --------
    uninstall : Take them away again.

    Examples
    --------
    >>> import regard.flash_attn
    >>> regard.flash_attn.install()
    >>> from flash_attn import flash_attn_func
    >>> flash_attn_func is regard.flash_attn.flash_attn_func
    True
    >>> regard.flash_attn.uninstall()
    """
    if _is_ours(sys.modules.get(_NAME)):
        return
    there = sys.modules.get(_NAME) or find_spec(_NAME)
    if there is not None:
        where = getattr(there, "__file__", None) or getattr(there, "origin", None) or there
        raise ImportError(
            f"flash_attn.install: there is a package flash_attn ({where}).\n  Use that, or say "
            "import regard.flash_attn as flash_attn where these are meant.",
            name=_NAME,
        )
    package = _module(_NAME, _FUNCTIONS)
    package.__path__ = []  # a package, though nothing else is found in it
    package.__version__ = VERSION  # type: ignore[attr-defined]
    for name, functions in (("flash_attn_interface", _FUNCTIONS), ("bert_padding", _PADDING)):
        setattr(package, name, _module(f"{_NAME}.{name}", functions))


def uninstall() -> None:
    """Take away what `install` has put under the name ``flash_attn``, and nothing else.

    Names that have been imported from there stay as they are.

    Examples
    --------
    >>> import regard.flash_attn
    >>> regard.flash_attn.uninstall()  # nothing was installed
    """
    if _is_ours(sys.modules.get(_NAME)):
        for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
            del sys.modules[name]


def _module(name: str, functions: tuple[object, ...]) -> ModuleType:
    module = ModuleType(name, "Functions of regard.flash_attn, by its `install`.")
    module.__spec__ = ModuleSpec(name, loader=None, origin="regard.flash_attn")
    for function in functions:
        setattr(module, function.__name__, function)  # type: ignore[attr-defined]
    sys.modules[name] = module
    return module


def _is_ours(module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.loader is None and spec.origin == "regard.flash_attn"
