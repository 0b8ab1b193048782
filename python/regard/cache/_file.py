"""A cache in a buffer of bytes, such as a memory-mapped file: how it begins, and what is checked.

    byte     0  magic, version, the sizes of `Layout`, bytes in all, checksum
           128  rotation of the keys: checksum, if any, interleaved, pairs, factor, frequencies
             .  a length for each batch element, in 8 bytes
             .  the highest length that each has had, which tells what a ring has overwritten
             .  from a multiple of 4096 on: keys, values, and with int8 the scales of both

Numbers are little-endian. A length is written after the rows that it counts, by one aligned store
of 8 bytes, so a process that dies while it appends leaves the length from before or the one after.
Its upper 16 bits are a checksum of the lower 48.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.cache._layout import FIELDS_BYTES, ROTATION_BYTES, Layout
from regard.cache._storage import DTYPES
from regard.positions._rotation import Rotation

_MAGIC, _LATENT_MAGIC = b"regardKV", b"regardLA"
_VERSION = 1
# Magic, version, dtype, seven sizes of which the window is -1 for none, bytes in all; checksum.
_FIELDS = struct.Struct("<8sII8q")
_CHECKSUM = struct.Struct("<I")
_ROTATION = struct.Struct("<IIQd")  # known, interleaved, pairs, factor
# Numbers of the storage types in a file; never renumber.
_CODES = {"float32": 1, "float64": 2, "float16": 3, "bfloat16": 4, "int8": 5}
assert set(_CODES) == set(DTYPES)
# An odd number near 2**64 divided by the golden ratio: every bit of a length reaches the upper 16
# bits of the product.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_LENGTH_BITS = 48


class File:
    """A cache's buffer: its header, and the bytes behind it.

    Parameters
    ----------
    buffer : ndarray of uint8
    layout : Layout
        Must be the one in the header, unless the buffer is fresh, that is all zeros.
    call : str
        For messages.
    """

    __slots__ = ("_buffer", "_bytes", "_highest", "_layout", "_lengths", "data")

    def __init__(self, buffer: Any, layout: Layout, call: str) -> None:
        self._buffer = buffer
        self._bytes = _checked(buffer, call)
        self._layout = layout
        if not self._bytes[: layout.data_at].any():
            self._initialise(call)
        stored = read_layout(buffer, call)
        if stored != layout:
            differ = [
                f"{name}={getattr(stored, name)!r}, not {getattr(layout, name)!r}"
                for name in Layout.__dataclass_fields__
                if getattr(stored, name) != getattr(layout, name)
            ]
            raise ValueError(
                f"{call}: buffer holds a cache with {'; '.join(differ)}.\n  Give the arguments "
                "that it was made with, or KVCache.open(buffer)."
            )
        at, size = layout.lengths_at, 8 * layout.batch
        self._lengths = self._bytes[at : at + size].view("<u8")
        self._highest = self._bytes[at + size : at + 2 * size].view("<u8")
        self.data = self._bytes[layout.data_at : layout.nbytes]

    def _initialise(self, call: str) -> None:
        layout = self._layout
        if self._bytes.size < layout.nbytes:
            raise ValueError(
                f"{call}: buffer has {self._bytes.size} bytes, and this cache needs "
                f"{layout.nbytes}.\n  KVCache.nbytes_for tells how many."
            )
        if not self.writeable:
            raise ValueError(
                f"{call}: buffer is read-only and holds no cache.\n  Give one that can be written."
            )
        fields = _FIELDS.pack(
            _LATENT_MAGIC if layout.latent else _MAGIC, _VERSION, _CODES[layout.dtype],
            layout.batch, layout.kv_heads, layout.head_dim, layout.value_dim, layout.capacity,
            -1 if layout.window is None else layout.window, layout.sink_tokens, layout.nbytes,
        )  # fmt: skip
        header = fields + _CHECKSUM.pack(zlib.crc32(fields))
        self._bytes[: len(header)] = np.frombuffer(header, np.uint8)

    @property
    def writeable(self) -> bool:
        """Whether the buffer may be written to."""
        return self._bytes.flags.writeable

    def read_lengths(self, call: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the lengths and the highest lengths."""
        lengths, highest = _unsealed(self._lengths), _unsealed(self._highest)
        if lengths is not None and highest is not None:
            ring = self._layout.window is not None
            if (lengths <= (highest if ring else self._layout.capacity)).all():
                return lengths, highest
        raise _damaged(call, "its lengths")

    def write_lengths(self, lengths: NDArray[np.int64]) -> None:
        """Count rows that have been written, or no longer count some."""
        self._lengths[:] = _sealed(lengths)

    def write_highest(self, highest: NDArray[np.int64]) -> None:
        """Give up what is about to be overwritten."""
        self._highest[:] = _sealed(highest)

    def read_rotation(self, call: str) -> Rotation | None:
        """Return how the keys are rotated."""
        block = self._bytes[FIELDS_BYTES : self._layout.lengths_at].tobytes()
        body = block[_CHECKSUM.size :]
        if not any(block):
            return None
        known, interleaved, pairs, factor = _ROTATION.unpack_from(body)
        start = _ROTATION.size
        if _CHECKSUM.unpack_from(block)[0] != zlib.crc32(body) or 2 * pairs > self._layout.head_dim:
            raise _damaged(call, "the rotation of its keys")
        if not known:
            return None
        frequencies = np.frombuffer(body, "<f8", pairs, start)
        return Rotation(frequencies, factor, bool(interleaved), self._layout.first_turned)

    def write_rotation(self, rotation: Rotation | None) -> None:
        """Remember how the keys are rotated."""
        block = self._bytes[FIELDS_BYTES : self._layout.lengths_at]
        body = bytearray(block.size - _CHECKSUM.size)
        if rotation is not None:
            pairs = len(rotation.frequencies)
            _ROTATION.pack_into(body, 0, 1, rotation.interleaved, pairs, rotation.factor)
            start = _ROTATION.size
            body[start : start + 8 * pairs] = rotation.frequencies.astype("<f8").tobytes()
        sealed = _CHECKSUM.pack(zlib.crc32(body)) + body
        block[:] = np.frombuffer(sealed, np.uint8)

    def flush(self) -> None:
        """Have a memory-mapped file written to its disk."""
        if hasattr(self._buffer, "flush"):
            self._buffer.flush()


assert _CHECKSUM.size + _ROTATION.size <= ROTATION_BYTES


def read_layout(buffer: Any, call: str) -> Layout:
    """Return what the cache in a buffer was made for."""
    data = _checked(buffer, call)
    size = _FIELDS.size + _CHECKSUM.size
    header = data[:size].tobytes()
    if len(header) < size or header[: len(_MAGIC)] not in (_MAGIC, _LATENT_MAGIC):
        empty = not any(header)
        raise ValueError(
            f"{call}: buffer holds no cache of regard"
            f"{': its beginning is empty' if empty else ''}.\n  A new cache needs a buffer of "
            "zeros, e.g. np.memmap(path, mode='w+', shape=KVCache.nbytes_for(...))."
        )
    fields = _FIELDS.unpack_from(header)
    if fields[1] != _VERSION:
        raise ValueError(
            f"{call}: buffer holds a cache of format {fields[1]}.\n  This version of regard reads "
            f"format {_VERSION}."
        )
    names = {code: name for name, code in _CODES.items()}
    checksum = _CHECKSUM.unpack_from(header, _FIELDS.size)[0]
    if checksum != zlib.crc32(header[: _FIELDS.size]) or fields[2] not in names:
        raise _damaged(call, "its header")
    batch, kv_heads, head_dim, value_dim, capacity, window, sink_tokens, size = fields[3:]
    layout = Layout(
        names[fields[2]], batch, kv_heads, head_dim, value_dim, capacity,
        window if window >= 0 else None, sink_tokens, fields[0] == _LATENT_MAGIC,
    )  # fmt: skip
    if data.size < layout.nbytes or size != layout.nbytes:
        raise ValueError(
            f"{call}: buffer has {data.size} bytes, and the cache in it {layout.nbytes}.\n  The "
            "file was shortened."
        )
    return layout


def _checked(buffer: Any, call: str) -> NDArray[np.uint8]:
    if not isinstance(buffer, np.ndarray) or buffer.dtype != np.uint8:
        found = buffer.dtype if isinstance(buffer, np.ndarray) else type(buffer).__name__
        raise TypeError(
            f"{call}: buffer is of {found}.\n  Give an array of uint8, e.g. an np.memmap."
        )
    if buffer.ndim != 1 or not buffer.flags.c_contiguous or buffer.ctypes.data % 8:
        raise ValueError(
            f"{call}: buffer has shape {buffer.shape}, strides {buffer.strides}.\n  Give a 1-D "
            "array without gaps that begins at a multiple of 8 bytes."
        )
    return np.asarray(buffer)  # no memmap: views of a subclass cost microseconds


def _damaged(call: str, what: str) -> ValueError:
    return ValueError(
        f"{call}: buffer is damaged: {what} do not match their checksum.\n  Nothing in it can be "
        "trusted; make a new cache."
    )


def _sealed(lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    numbers = lengths.astype(np.uint64)
    check = (numbers * _SPREAD) >> np.uint64(_LENGTH_BITS)
    words: NDArray[np.uint64] = numbers | check << np.uint64(_LENGTH_BITS)
    return words


def _unsealed(words: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    lengths = (words & np.uint64(2**_LENGTH_BITS - 1)).astype(np.int64)
    return lengths if np.array_equal(_sealed(lengths), words) else None
