"""A reader of PyTorch's pickles that runs nothing.

A pickle is a program for a small stack machine, and `pickle.Unpickler` may call whatever a file names. Here a name becomes an
inert record from the table below. What the unpickler can do without names (take memory for memo slots that a file merely
claims, hash nested tuples forever) is ruled out before it starts, by one pass over the instructions.

The records keep what they are given by reference, after checking its type and length: a file can pass the same long list to a
million calls. None of them is ever printed, compared or hashed as a whole.
"""

import dataclasses
import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from refinenet_jax.weights.weights_file import WeightsError

MAX_BYTES = 16 << 20  # of one pickle; that of a network of 1,000 tensors takes 0.1 MB
_MAX_INSTRUCTIONS = 1_000_000  # the same network takes 30,000
_MAX_INTEGER_BITS = 1 << 10
_MAX_AXES = 32
# Larger integers may hash alike, and many such make a dict slow; so do long texts that are equal but not the same object.
_MAX_KEY, _MAX_KEY_LENGTH = 1 << 60, 1000

SAVE_WEIGHTS = "Where it was made, save the weights alone: torch.save(model.state_dict(), 'weights.pth')"

_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_KEYS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "NONE", "NEWTRUE", "NEWFALSE"}
_KEYS |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_KEYS |= {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_INSTRUCTIONS = _PUT | _GET | _KEYS | {"PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "FLOAT", "BINFLOAT"}
_INSTRUCTIONS |= {"EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"}
_INSTRUCTIONS |= {"EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"}
_INSTRUCTIONS |= {"GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"}

_STORAGE_DTYPES = {
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
# torch.float32 and its like, which are written as bare names.
_TORCH_DTYPE = re.compile("float(16|32|64)|bfloat16|half|float|double|u?int8|int(16|32|64)|short|int|long|bool")


class _DamagedError(Exception):
    """The pickle is damaged."""


class _RefusedError(Exception):
    """The pickle asks for something that is not allowed; the message says for what."""


class _Record:
    """Replaces an object of the file. Without this method the unpickler would set attributes itself."""

    def __setstate__(self, state: Any) -> None:
        raise _DamagedError(f"attributes for a {type(self).__name__}")


@dataclasses.dataclass(frozen=True)
class Storage(_Record):
    """A run of `count` numbers kept outside the pickle, under the name `key`."""

    key: str
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor(_Record):
    """A view of a storage; offset and strides in elements. None of them is checked against the storage yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unread(_Record):
    """Replaces an object that no network needs, such as a NumPy array or an argparse.Namespace; its content is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _OrderedDict(dict):
    def __setstate__(self, state: Any) -> None:
        pass  # versions of PyTorch's layers


class _Name(_Record):
    """Replaces the object of a name. It is not a function, because a file could set a function's defaults."""

    def __init__(self, module: str, name: str, call: Callable[..., Any] | None = None):
        self.module, self.name, self._call = module, name, call

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise _RefusedError(f"to call {self.module}.{self.name}")
        return self._call(*arguments)


def load(stream: BinaryIO, path: str) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle, to its end and no further.

    Args:
      stream: positioned at its start; it has no more than MAX_BYTES.
      path: the file, for messages.

    Returns:
      Its value, of dict, list, tuple, str, bytes, int, float, bool, None and the records `Tensor`, `Storage` and
      `Unread`; any of them may occur many times, even within itself. And the storages that it names, by key.

    Raises:
      WeightsError: it is damaged, too long, or asks for anything beyond these.
    """
    try:
        start = stream.tell()
        _check_instructions(stream)
        end = stream.tell()
        stream.seek(start)
        unpickler = _Unpickler(io.BytesIO(stream.read(end - start)), encoding="latin1")
        return unpickler.load(), unpickler.storages
    except _RefusedError as refused:
        what = str(refused).encode("unicode_escape").decode()  # it may hold a terminal's control codes
        raise WeightsError(
            f"{path} asks {what:.200}. Only tensors and plain values are read; nothing in a file is ever run. {SAVE_WEIGHTS}."
        ) from None
    except Exception as error:  # damaged pickles fail in many ways
        raise WeightsError(f"{path}: its pickle makes no sense ({error!s:.200}). Download or copy it again.") from error


def _check_instructions(stream: BinaryIO) -> None:
    """Refuses what the unpickler must not read; follows the stack as far as needed to know the keys of dicts."""
    stack: list[bool] = []  # whether what is there may be a key
    below: list[list[bool]] = []  # the stacks under each mark
    memo: dict[int, bool] = {}
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        name, takes, keys = instruction.name, instruction.stack_before, []
        if count == _MAX_INSTRUCTIONS:
            raise _RefusedError(f"for over {count:,} pickle instructions, far more than weights need")
        if name not in _INSTRUCTIONS:
            raise _RefusedError(f"for the pickle instruction {name}")
        if type(argument) is int and argument.bit_length() > _MAX_INTEGER_BITS:
            raise _DamagedError("an integer of hundreds of digits")
        if name in _PUT and argument > count:  # the unpickler takes memory for all slots up to this one
            raise _DamagedError("a memo slot beyond the number of instructions")
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in _PUT or name == "MEMOIZE":
            memo[argument if name in _PUT else len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(memo[argument])
        else:
            if pickletools.markobject in takes:
                keys = stack[::2] if name in ("SETITEMS", "DICT") else []
                stack, takes = below.pop(), takes[:-2]
            elif name == "SETITEM":
                keys = stack[-2:-1]
            if not all(keys):
                raise _DamagedError("a key that is no short text or number")
            if len(stack) < len(takes):
                raise _DamagedError("an instruction without its operands")
            del stack[len(stack) - len(takes) :]
            stack += [name in _KEYS and _may_be_key(argument)] * len(instruction.stack_after)
    if stack or below:
        raise _DamagedError("it ends within a list")


def _may_be_key(argument: Any) -> bool:
    if isinstance(argument, int):
        return abs(argument) < _MAX_KEY
    return argument is None or len(argument) <= _MAX_KEY_LENGTH


class _Unpickler(pickle.Unpickler):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and _TORCH_DTYPE.fullmatch(name):
            return f"torch.{name}"
        if (module, name) not in _NAMES:
            raise _RefusedError(f"for {module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        return self._storage(*_require(pid, tuple))

    def _storage(self, kind: str, dtype: _Name, key: str, _location: Any, count: int, view: Any = None) -> Storage:
        if kind != "storage":
            raise _RefusedError("for the source code of a network")
        if view is not None:
            raise _RefusedError("for a storage within another")
        if _require(dtype, _Name).name not in _STORAGE_DTYPES:
            raise _RefusedError(f"for a storage of {dtype.module}.{dtype.name}")
        if not _may_be_key(_require(key, str)):
            raise _DamagedError("a storage with a long key")
        storage = Storage(key, _STORAGE_DTYPES[dtype.name], _size(count))
        if self.storages.setdefault(key, storage) != storage:
            raise _DamagedError("two sizes or types for one storage")
        return storage


def _require(value: Any, kind: type) -> Any:
    """Returns the value if it is of exactly this type."""
    if type(value) is not kind:
        raise _DamagedError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _size(value: Any) -> int:
    if not 0 <= _require(value, int) < 1 << 63:
        raise _DamagedError("a size that nothing has")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    """Returns the values as sizes along axes."""
    if type(values) not in (tuple, list) or len(values) > _MAX_AXES:
        raise _DamagedError("a shape that no array has")
    return tuple(_size(value) for value in values)


# ---- Replacements of the functions that a file may call. They take no more arguments than PyTorch writes, because a file
# could pass a long tuple a million times.


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = None, _hooks: Any = None, _more: Any = None
):
    return Tensor(_require(storage, Storage), _size(offset), _sizes(shape), _sizes(strides))


def _ordered_dict(pairs: Any = None) -> dict:
    result = _OrderedDict()
    if pairs is None:
        return result
    for pair in _require(pairs, list):
        key, value = pair if type(pair) in (tuple, list) else ()
        if type(key) not in (str, bytes, int, bool, type(None)) or not _may_be_key(key):
            raise _DamagedError(f"a {type(key).__name__} as a key")
        result[key] = value
    pairs.clear()  # nothing else needs it, and a file could pass it a million times
    return result


def _unread(_first: Any = None, _second: Any = None, _third: Any = None) -> Unread:
    return Unread()


_CALLS: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, _grad=None, _hooks=None: _require(tensor, Tensor),
    ("torch", "Size"): lambda sizes=(): _sizes(sizes),
    ("collections", "OrderedDict"): _ordered_dict,
    ("_codecs", "encode"): _unread,  # bytes, as Python 3 writes them for Python 2
    ("numpy", "dtype"): _unread,
}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _CALLS |= {(_core, "scalar"): _unread, (_core, "_reconstruct"): _unread}
# Names that are only used as arguments.
_MARKS = [("numpy", "ndarray"), ("torch.storage", "UntypedStorage"), ("torch.storage", "TypedStorage")]
_MARKS += [("torch", name) for name in _STORAGE_DTYPES]

_NAMES = {key: _Name(*key, _CALLS.get(key)) for key in [*_CALLS, *_MARKS]}
_NAMES["argparse", "Namespace"] = Unread  # NEWOBJ takes nothing but a class
