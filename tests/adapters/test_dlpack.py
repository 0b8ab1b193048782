"""CPU tensors of other libraries, by DLPack, without copies; bfloat16 included."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import regard
from problems import Problem, assert_same_bits, check
from storage_types import FLOATS, bits, rounded, stored

FORWARD_BFLOAT16 = True  # see conftest.py

# DLPack 0.8, dlpack.h. Codes of types: int, uint, float, bfloat.
CODES = {"i": 0, "u": 1, "f": 2}
BFLOAT = 4
CPU, CUDA = 1, 2


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Managed(ctypes.Structure):
    pass


DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = [
    ("tensor", DLTensor),
    ("context", ctypes.c_void_p),
    ("deleter", DELETER),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Tensor:
    """A tensor made by hand, so that any type, stride and offset can be had.

    Counts how often a consumer gave back what it took.
    """

    def __init__(self, array, *, lanes=1, device=CPU, code=None, offset=0, contiguous=False):
        self.array, self.device, self.released = array, device, 0
        bfloat = array.dtype.kind == "V"
        self.managed = Managed()
        tensor = self.managed.tensor
        tensor.data = array.ctypes.data - offset
        tensor.byte_offset = offset
        tensor.device = Device(device, 0)
        tensor.ndim = array.ndim
        code = (BFLOAT if bfloat else CODES[array.dtype.kind]) if code is None else code
        tensor.dtype = DataType(code, 8 * array.itemsize, lanes)
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.strides = (ctypes.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
        tensor.shape = self.shape
        # NULL strides are those of C order.
        tensor.strides = None if contiguous else self.strides
        self.managed.deleter = DELETER(self._release)

    def _release(self, _):
        self.released += 1

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, *, stream=None, **_):
        return _new_capsule(ctypes.addressof(self.managed), b"dltensor", None)


@pytest.fixture
def arrays(rng):
    """Query, key, value of 4 and 2 heads, as float32."""
    return [
        rng.standard_normal((2, h, n, 16)).astype(np.float32) for h, n in ((4, 3), (2, 9), (2, 9))
    ]


@pytest.mark.parametrize("name", FLOATS)
def test_by_hand(isa, arrays, name):
    halves = [rounded(x, FLOATS[name]) for x in arrays]
    expected = regard.attention(*halves, causal=True, return_lse=True)
    tensors = [Tensor(x) for x in halves]
    out, lse = regard.attention(*tensors, causal=True, return_lse=True)
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(bits(out), bits(expected[0]))
    np.testing.assert_array_equal(lse, expected[1])
    check(Problem(*halves, {"causal": True}), (out, lse))
    assert [t.released for t in tensors] == [1, 1, 1]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["C", "C without strides", "BNHD", "reversed", "offset"])
def test_strides_and_offsets(isa, arrays, name, layout):
    halves = [rounded(x, FLOATS[name]) for x in arrays]
    expected = regard.attention(*halves)
    options = {}
    if layout == "BNHD":
        halves = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in halves]
    if layout == "reversed":
        halves = [np.ascontiguousarray(x[..., ::-1])[..., ::-1] for x in halves]
    if layout == "C without strides":
        options["contiguous"] = True
    if layout == "offset":
        options["offset"] = 6 * halves[0].itemsize
    got = regard.attention(*(Tensor(x, **options) for x in halves))
    np.testing.assert_array_equal(bits(got), bits(expected))


def test_nothing_is_copied(arrays):
    """What is written to the tensor's memory afterwards is seen by the next call."""
    query, key, value = (rounded(x, FLOATS["bfloat16"]) for x in arrays)
    tensor = Tensor(value)
    before = regard.attention(query, key, tensor)
    bits(value)[...] = 0
    after = regard.attention(query, key, tensor)
    assert bits(before).any()
    assert not bits(after).any()


def test_int8_with_scales(isa, arrays):
    (key, ks), (value, vs) = (stored(x, "int8") for x in arrays[1:])
    scales = {"key_scales": ks, "value_scales": vs}
    expected = regard.attention(arrays[0], key, value, **scales)
    tensors = {n: Tensor(x) for n, x in scales.items()}
    got = regard.attention(Tensor(arrays[0]), Tensor(key), Tensor(value), **tensors)
    np.testing.assert_array_equal(got, expected)


def test_what_is_no_array_here(arrays):
    """Another device, vectors of lanes, types without a name: errors that name the argument."""
    half = rounded(arrays[0], FLOATS["bfloat16"])
    for bad in (
        Tensor(half, device=CUDA),
        Tensor(half, lanes=2),
        Tensor(half, code=5),  # complex
        Tensor(arrays[0], code=BFLOAT),  # of 32 bits
    ):
        with pytest.raises(TypeError, match="attention: query"):
            regard.attention(bad, *arrays[1:])


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_torch(isa, arrays, name):
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(x).to(getattr(torch, name)) for x in arrays]
    halves = [rounded(x, FLOATS[name]) for x in arrays]
    out = regard.attention(*tensors, causal=True)
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(bits(out), bits(regard.attention(*halves, causal=True)))
    # Views have strides of their own.
    views = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in tensors]
    np.testing.assert_array_equal(bits(regard.attention(*views, causal=True)), bits(out))
    with pytest.raises(TypeError, match="attention: query"):
        regard.attention(tensors[0].requires_grad_(), *tensors[1:])


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_jax(isa, arrays, name):
    jax = pytest.importorskip("jax")
    tensors = [jax.numpy.asarray(x).astype(name) for x in arrays]
    halves = [rounded(x, FLOATS[name]) for x in arrays]
    out = regard.attention(*tensors, causal=True)
    np.testing.assert_array_equal(bits(out), bits(regard.attention(*halves, causal=True)))


def test_a_tensor_lives_as_long_as_its_array(arrays):
    """The other library's memory is given back, also when the call fails."""
    tensor = Tensor(rounded(arrays[0], FLOATS["bfloat16"]))
    with pytest.raises(ValueError, match=r"attention: .*head_dim"):
        regard.attention(tensor, arrays[1][..., :8], arrays[2])
    assert tensor.released == 1


def test_same_bits_as_arrays_of_ml_dtypes(isa, arrays):
    halves = [rounded(x, FLOATS["ml_dtypes"]) for x in arrays]
    markers = [x.view(FLOATS["bfloat16"]) for x in halves]
    one, other = regard.attention(*halves), regard.attention(*markers)
    assert_same_bits(one.view(FLOATS["bfloat16"]), other)
