"""What the names in PyTorch's pickles stand for: inert records, made by the functions below and by nothing of PyTorch.

Every argument comes from the file, so each is taken only if it is exactly of the type that PyTorch writes. None is ever
printed, compared or hashed as a whole: lists that hold each other many times over would take for ever.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

_MAX_AXES = 32
_MAX_KEY = 1 << 60  # from here on different integers may hash alike, and many such make a dict slow

STORAGE_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# Those of torch.float32 and its like, which are written as bare names.
TORCH_DTYPE = re.compile("float(16|32|64)|bfloat16|half|float|double|u?int8|int(16|32|64)|short|int|long|bool")
_NUMPY_DTYPE = re.compile("[<>|=]?(b1|[iu][1248]|f[248])")


class DamagedError(Exception):
    """The pickle makes no sense."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A name in the file that is on our list; a mark for it, never the thing itself."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers kept outside the pickle: `count` elements, from the `begin`-th on, of the run called `key`."""

    key: str
    dtype: np.dtype
    count: int
    begin: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides in elements. None of them is checked against the storage yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(eq=False)
class NumpyArray:
    """An array kept within the pickle; None until its state has been read."""

    array: np.ndarray | None = None


@dataclasses.dataclass(eq=False)
class NumpyDtype:
    """A type of number; its byte order is read after it."""

    code: str
    order: str = "<"


class Namespace(dict):
    """The attributes of an argparse.Namespace."""


def require(value: Any, kind: type) -> Any:
    """The value itself, if it is of exactly this type."""
    if type(value) is not kind:
        raise DamagedError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def natural(value: Any) -> int:
    """The value itself, if it is an integer from 0 on."""
    if require(value, int) < 0:
        raise DamagedError("a negative size")
    return value


def naturals(values: Any) -> tuple[int, ...]:
    """The values as sizes along axes."""
    if type(values) not in (tuple, list) or len(values) > _MAX_AXES:
        raise DamagedError("a shape that no array has")
    return tuple(natural(value) for value in values)


def fill(target: Any, items: list[Any]) -> dict:
    """Adds keys and values, in turn, to a dict."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, int, bool, type(None)) or (type(key) is int and abs(key) >= _MAX_KEY):
            raise DamagedError(f"a {type(key).__name__} as a key")
        require(target, dict)[key] = value
    return target


def build(record: Any, state: Any) -> None:
    """Gives a record the state that follows it in the file.

    Raises:
      DamagedError: it is not a record that has any.
    """
    match record:
        case Namespace():
            record.update(fill({}, [part for item in require(state, dict).items() for part in item]))
        case dict():
            pass  # the attributes of an OrderedDict: versions of PyTorch's layers
        case NumpyDtype():
            order = require(require(state, tuple)[1], str)
            if order not in ("<", ">", "|", "="):
                raise DamagedError("a NumPy type of unknown byte order")
            record.order = order
        case NumpyArray():
            _, shape, dtype, fortran, data = require(state, tuple)
            flat = np.frombuffer(_bytes(data), _dtype(dtype))
            record.array = flat.reshape(naturals(shape), order="F" if fortran is True else "C")
        case _:
            raise DamagedError(f"attributes for a {type(record).__name__}")


def _bytes(data: Any) -> bytes:
    return data.encode("latin1") if type(data) is str else require(data, bytes)  # to Python 2 they were the same


def _dtype(record: NumpyDtype) -> np.dtype:
    return np.dtype(require(record, NumpyDtype).code).newbyteorder(record.order)


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_unused: Any) -> Tensor:
    return Tensor(require(storage, Storage), natural(offset), naturals(shape), naturals(strides))


def _parameter(tensor: Tensor, *_unused: Any) -> Tensor:
    return require(tensor, Tensor)


def _ordered_dict(pairs: list | tuple = ()) -> dict:
    if any(type(pair) not in (tuple, list) or len(pair) != 2 for pair in pairs):
        raise DamagedError("an OrderedDict of no pairs")
    return fill({}, [part for pair in pairs for part in pair])


def _encode(text: str, encoding: str) -> bytes:
    if require(encoding, str) != "latin1":
        raise DamagedError("bytes in an unknown encoding")
    return require(text, str).encode("latin1")


def _numpy_dtype(code: str, *_unused: Any) -> NumpyDtype:
    if not _NUMPY_DTYPE.fullmatch(require(code, str)):
        raise DamagedError("a NumPy type that is no number")
    return NumpyDtype(code.lstrip("<>|="))


def _numpy_scalar(dtype: NumpyDtype, data: bytes | str) -> Any:
    (value,) = np.frombuffer(_bytes(data), _dtype(dtype))
    return value.item()


_NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")

# Names that a file may call, and what happens then.
CALLS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    Name("torch", "Size"): lambda sizes=(): naturals(sizes),
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("argparse", "Namespace"): lambda: Namespace(),
    Name("_codecs", "encode"): _encode,  # how Python 3 writes bytes for Python 2
    Name("numpy", "dtype"): _numpy_dtype,
    **{Name(core, "scalar"): _numpy_scalar for core in _NUMPY_CORES},
    **{Name(core, "_reconstruct"): lambda *_unused: NumpyArray() for core in _NUMPY_CORES},
}
# Names that only stand for themselves, as arguments.
MARKS = {
    Name("numpy", "ndarray"),
    Name("torch.storage", "UntypedStorage"),
    Name("torch.storage", "TypedStorage"),
    *(Name("torch", name) for name in STORAGE_DTYPES),
}
