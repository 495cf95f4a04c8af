"""Bytes of a file from front to back, as they are or inflated; large pieces are passed over, and found again later."""

import copy
import zlib
from collections.abc import Callable
from typing import BinaryIO

from refinenet_jax.matlab.values import SAVE_AGAIN, Refused

# Bytes read at a time, and the most that they may inflate to at once: weights hardly shrink, but all masks of a photograph
# together have some kB, and in one block of memory they are read a quarter faster than in many.
_PIECE, _AHEAD = 1 << 16, 1 << 25
_WORTH_A_BOOKMARK = 1 << 20  # bytes; of weights, a bookmark itself takes 50 to 180 kB


class Plain:
    """Bytes of the file up to `end`; `again` opens it once more."""

    def __init__(self, again: Callable[[], BinaryIO], file: BinaryIO, position: int, end: int):
        self._again, self._file, self.position, self._end = again, file, position, end

    def read(self, count: int) -> bytes:
        self._file.seek(self.position)
        self.skip(count)
        data = self._file.read(count)
        if len(data) != count:
            raise Refused("it has become shorter since it was opened")
        return data

    def skip(self, count: int) -> None:
        if count > self._end - self.position:
            raise Refused(f"it is truncated or damaged at byte {self.position:,}")
        self.position += count

    def keep(self, count: int) -> Callable[[], bytes]:
        """Skips, and returns what will read the same bytes again."""
        again, start = self._again, self.position
        self.skip(count)

        def read() -> bytes:
            with again() as file:
                return Plain(again, file, start, start + count).read(count)

        return read


class Inflated:
    """What the bytes of the file from `start` to `end` inflate to, up to `limit` bytes."""

    def __init__(self, again: Callable[[], BinaryIO], file: BinaryIO, start: int, end: int, limit: int):
        self.position = 0
        self._again, self._file, self._next, self._end, self._limit = again, file, start, end, limit
        self._inflater = zlib.decompressobj()
        self._ready, self._taken = memoryview(b""), 0  # inflated ahead, and how many bytes of it are taken

    def read(self, count: int) -> memoryview:
        if count > self._limit - self.position:
            raise Refused("it inflates to far more than weights or annotations do", SAVE_AGAIN)
        self.position += count
        start, self._taken = self._taken, self._taken + count
        if self._taken <= len(self._ready):
            return self._ready[start : self._taken]
        pieces = [self._ready[start:]]
        missing = count - len(pieces[0])
        while missing:
            self._ready = memoryview(self._more(_AHEAD))
            if not self._ready:
                raise Refused("one of its compressed variables is truncated or damaged")
            pieces.append(self._ready[:missing])
            self._taken = len(pieces[-1])
            missing -= self._taken
        return memoryview(b"".join(pieces))

    def skip(self, count: int) -> None:
        while count > 0:
            count -= len(self.read(min(count, _PIECE)))

    def keep(self, count: int) -> bytes | memoryview | Callable[[], memoryview]:
        """The bytes themselves; or, if they are many, skips them and returns what will inflate them again, from here."""
        if count < _WORTH_A_BOOKMARK:
            data = self.read(count)
            return bytes(data) if count < _PIECE else data  # a view holds all that was inflated with it
        bookmark = self._copy(self._file)
        self.skip(count)

        def read() -> memoryview:
            with bookmark._again() as file:
                return bookmark._copy(file).read(count)

        return read

    def _copy(self, file: BinaryIO) -> "Inflated":
        other = copy.copy(self)
        other._file, other._inflater = file, self._inflater.copy()
        return other

    def close(self) -> None:
        """Checks that this was all, and its checksum."""
        if self._taken < len(self._ready) or self._more(1) or not self._inflater.eof:
            raise Refused("one of its compressed variables is damaged or goes on after its end")

    def _more(self, count: int) -> bytes:
        """At most `count` bytes, none at the end."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail
            if not packed:
                self._file.seek(self._next)
                packed = self._file.read(min(_PIECE, self._end - self._next))
                self._next += len(packed)
            try:
                piece = self._inflater.decompress(packed, count)
            except zlib.error as error:
                raise Refused(f"one of its compressed variables is damaged ({error})") from error
            if piece or not packed:
                return piece
        return b""
