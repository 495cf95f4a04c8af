"""PyTorch's pickles, understood without being run.

A pickle is a program for a small stack machine, and Python's own unpickler may call anything that is installed. Forbidding it
some names is not enough: its C code takes memory for memo slots that the file merely claims, sets attributes, and hashes nested
keys for ever. So this module is a machine of its own, with only the instructions that tensors and plain containers need. None
of them can import, call or set anything of Python: a name in the file is looked up in the table `torch_records.CALLS`, and the
functions there make inert records. The standard library only splits the file into instructions (`pickletools.genops`, which
runs nothing). An instruction takes time and memory in proportion to its own length; those that use what is already there over
again, to call and to build, are charged for it; and instructions and charges are limited.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from refinenet_jax.weights.torch_records import (
    CALLS,
    MARKS,
    STORAGE_DTYPES,
    TORCH_DTYPE,
    DamagedError,
    Name,
    Storage,
    build,
    fill,
    natural,
    require,
)
from refinenet_jax.weights.weights_file import WeightsError

MAX_BYTES = 16 << 20  # of one pickle; that of a network of 1,000 tensors takes 0.1 MB
_MAX_INSTRUCTIONS = 1_000_000  # the same network takes 30,000
_MAX_CHARGE = 16 << 20  # bytes of text, or 16 for each element of a container
_MAX_INTEGER_BITS = 1 << 10

CURE = "Where it was made, save the weights alone: torch.save(model.state_dict(), 'weights.pth')"


def load(stream: BinaryIO, path: str) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle, to its end and no further.

    Args:
      stream: stands at its start, and gives no more than MAX_BYTES.
      path: the file, for messages.

    Returns:
      What it describes, of dict, list, tuple, str, bytes, int, float, bool, None and the records `Tensor`, `Storage`, `Name`,
      `Namespace`, `NumpyArray` and `NumpyDtype`; any of them may occur many times, even within itself. And the storages that it
      speaks of, by key.

    Raises:
      WeightsError: it is damaged, too long, or asks for anything beyond these.
    """
    machine = _Machine(path)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == _MAX_INSTRUCTIONS:
                raise WeightsError(f"{path} holds far more than weights (over {count:,} pickle instructions). {CURE}.")
            machine.step(opcode.name, argument)
        (result,) = machine.stack
    except WeightsError:
        raise
    except (DamagedError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise WeightsError(
            f"{path} is cut short or damaged: its pickle makes no sense ({error!s:.200}). Download or copy it again."
        ) from error
    return result, machine.storages


class _Machine:
    """The stack machine; `step` is one instruction."""

    def __init__(self, path: str):
        self.path = path
        self.stack: list[Any] = []
        self.storages: dict[str, Storage] = {}
        self._below: list[list[Any]] = []  # what lies under each mark; the newest mark lies under `stack`
        self._memo: dict[int, Any] = {}
        self._charged = 0

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memo[argument])
            case (
                "BINUNICODE"
                | "SHORT_BINUNICODE"
                | "BINUNICODE8"
                | "UNICODE"
                | "STRING"
                | "BINSTRING"
                | "SHORT_BINSTRING"
            ):
                stack.append(argument)
            case "BININT" | "BININT1" | "BININT2" | "INT" | "LONG" | "LONG1" | "LONG4":
                if argument.bit_length() > _MAX_INTEGER_BITS:
                    raise DamagedError("an integer of hundreds of digits")
                stack.append(argument)
            case "BINFLOAT" | "FLOAT" | "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "MARK":
                self._below.append(stack)
                self.stack = []
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                self._gather(tuple)
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                self._gather(list)
            case "APPEND":
                item = stack.pop()
                require(stack[-1], list).append(item)
            case "APPENDS":
                items = self._pop_mark()
                require(self.stack[-1], list).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                self._gather(lambda items: fill({}, items))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                fill(stack[-1], [key, value])
            case "SETITEMS":
                items = self._pop_mark()
                fill(self.stack[-1], items)
            case "GLOBAL":
                stack.append(self._name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self._name(require(module, str), require(name, str)))
            case "BINPERSID":
                stack.append(self._storage(*require(stack.pop(), tuple)))
            case "REDUCE" | "NEWOBJ":
                arguments, callee = require(stack.pop(), tuple), require(stack.pop(), Name)
                if callee not in CALLS:
                    raise self._refusal(f"to call {callee.module}.{callee.name}")
                self._charge(arguments)
                stack.append(CALLS[callee](*arguments))
            case "BUILD":
                state = stack.pop()
                self._charge(state)
                build(stack[-1], state)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                if self._below:
                    raise DamagedError("it ends within a list")
            case _:
                raise self._refusal(f"for the pickle instruction {opcode}")

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def _gather(self, make: Callable[[list[Any]], Any]) -> None:
        """Puts one container of all that lies above the mark in its place."""
        items = self._pop_mark()
        self.stack.append(make(items))

    def _charge(self, parts: Any) -> None:
        """Counts what a call or a state may copy: a file can hand over the same long list a million times."""
        for part in (parts, *parts) if type(parts) is tuple else (parts,):
            if isinstance(part, (str, bytes)):
                self._charged += len(part)
            elif isinstance(part, (tuple, list, dict)):
                self._charged += 16 * len(part)
        if self._charged > _MAX_CHARGE:
            raise WeightsError(f"{self.path} holds far more than weights, or the same things over and over. {CURE}.")

    def _name(self, module: str, name: str) -> Name | str:
        if module == "torch" and TORCH_DTYPE.fullmatch(name):
            return f"torch.{name}"
        mark = Name(module, name)
        if mark not in CALLS and mark not in MARKS:
            raise self._refusal(f"for {module}.{name}")
        return mark

    def _storage(
        self, kind: str, dtype: Name, key: str, _location: Any, count: int, view: tuple[str, int, int] | None = None
    ) -> Storage:
        """What PyTorch's persistent identifiers stand for."""
        if kind != "storage":
            raise self._refusal("for the source code of a network")
        if require(dtype, Name).name not in STORAGE_DTYPES:
            raise self._refusal(f"for a storage of {dtype.module}.{dtype.name}")
        whole = Storage(require(key, str), STORAGE_DTYPES[dtype.name], natural(count))
        if self.storages.setdefault(key, whole) != whole:
            raise DamagedError("two sizes or types for one storage")
        if view is None:
            return whole
        _, begin, size = require(view, tuple)
        if natural(begin) + natural(size) > count:
            raise DamagedError("a view beyond its storage")
        return dataclasses.replace(whole, count=size, begin=begin)

    def _refusal(self, what: str) -> WeightsError:
        what = what.encode("unicode_escape").decode()  # it may hold a terminal's control codes
        return WeightsError(
            f"{self.path} asks {what:.200}. Only tensors, numbers, texts and plain containers are read; nothing in a file is"
            f" ever run, so a whole pickled network or any other object is refused. {CURE}."
        )
