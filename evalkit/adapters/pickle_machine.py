"""A pickle machine that can build plain containers and numeric arrays, and nothing else.

Python's own unpickler calls what a file names. Even with ``find_class`` overridden it sets attributes of
whatever stands on its stack, allocates what a file declares (a memo index of 2^31, a string of 2^40 bytes),
and hashes deeply nested tuples until the C stack ends. So this one is written from the documentation of the
format (PEP 307, 3154 and 574; the opcode table of the standard library's ``pickletools``) and knows only what
data need:

- Protocols 2 to 5, without text opcodes, extension registry, keyword construction and out-of-band buffers.
- A global is a passive name. It is looked up, module and name exactly, in a table of functions that the
  caller gives; only a call through that table does anything.
- ``BUILD`` reaches only `Passive` objects, and instances of classes that stand in the table and define
  ``__setstate__``.
- Keys of dicts and members of sets are text, None or small integers, whose hashes cost nothing.
- Declared sizes are compared with what is left of the file before anything is read. The number of operations
  and the bytes that calls produce are bounded, so that a small file cannot become a large one.

Whatever is wrong with a file ends in `CheckpointError`. The stream is left after the STOP opcode, so that
pickles that follow each other can be read in turn.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from evalkit.adapters.passive import Global, Inert, Passive, is_key
from evalkit.errors import CheckpointError

Allowed = Mapping[tuple[str, str], Callable[..., Any]]

# Genuine network files use some ten thousand operations; an empty set, the largest thing that one operation
# makes,
# is 216 bytes.
MAX_OPERATIONS = 2_000_000
# The longest integer of a genuine file has 10 bytes.
_MAX_INTEGER_BYTES = 1024
_MAX_NAME = 256
# Every array of a genuine file is decoded, viewed and copied once.
_GROWTH, _GROWTH_FLOOR = 4, 1 << 20
_MISUSE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


class RestrictedUnpickler:
    """Reads one pickle at a time from a seekable stream.

    Args:
        file: Where the pickle begins.
        allowed: What a file may call, by module and name. A function gets the arguments of the file and
            should check them; what Python raises for unfit arguments becomes a `CheckpointError`.
        what: How messages name the file.
        persistent: Takes a persistent id, and returns the object; they are refused where it is None.
        max_operations: How many operations one pickle may have.

    Raises:
        CheckpointError: The stream has no end that can be known.
    """

    def __init__(
        self,
        file: BinaryIO,
        allowed: Allowed,
        *,
        what: str,
        persistent: Callable[[Any], Any] | None = None,
        max_operations: int = MAX_OPERATIONS,
    ) -> None:
        self._file = file
        self._allowed = allowed
        self._what = what
        self._persistent = persistent
        self._max_operations = max_operations
        self._with_state = {
            made for made in allowed.values() if isinstance(made, type) and hasattr(made, "__setstate__")
        }
        try:
            self._left = -file.tell() + file.seek(0, 2)
            file.seek(-self._left, 2)
        except (OSError, ValueError) as error:
            raise self._bad(f"cannot be read ({error}); give a regular file") from error
        self._budget = _GROWTH * self._left + _GROWTH_FLOOR

    def load(self) -> Any:  # noqa: ANN401 - whatever the file holds
        """The object of the next pickle.

        Raises:
            CheckpointError: It is cut short, damaged, hostile, or of another kind.
        """
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._unbuilt: dict[int, list[int]] = {}
        operations = 0
        while (code := self._read(1)[0]) != _STOP:
            operations += 1
            if operations > self._max_operations:
                raise self._bad(
                    f"has more than {self._max_operations:,} pickle operations, far more than a model needs; "
                    "it was made to exhaust this machine"
                )
            handler = _HANDLERS.get(code)
            if handler is None:
                raise self._bad(
                    f"uses pickle opcode {code:#04x}, which files of numbers do not need or have no more; it "
                    "is damaged, of another kind, or hostile"
                )
            handler(self)
        if self._below:
            raise self._damaged("a mark is left open")
        return self._pop()

    # Reading.

    def _bad(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self._what} {problem}")

    def _damaged(self, detail: str) -> CheckpointError:
        return self._bad(f"is not a sound pickle ({detail}); it is damaged or something else: get it again")

    def _read(self, size: int) -> bytes:
        if size > self._left:
            raise self._bad(
                f"ends too early: {size:,} more bytes are announced and {self._left:,} are there; the file "
                "is cut short or damaged: get it again"
            )
        data = self._file.read(size)
        if len(data) != size:
            raise self._bad("changed while it was read; try again")
        self._left -= size
        return data

    def _number(self, size: int) -> int:
        return int.from_bytes(self._read(size), "little")

    def _line(self) -> str:
        line = self._file.readline(min(self._left, _MAX_NAME))
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise self._damaged("a name has no end")
        return self._text(line[:-1])

    def _text(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._damaged("a text is not UTF-8") from None

    # The stack, its marks, and the memo.

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:  # noqa: ANN401
        if not self._stack:
            raise self._damaged("a value is missing")
        return self._stack.pop()

    def _top(self) -> Any:  # noqa: ANN401
        if not self._stack:
            raise self._damaged("a value is missing")
        return self._stack[-1]

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        if not self._below:
            raise self._damaged("a mark is missing")
        items, self._stack = self._stack, self._below.pop()
        return items

    def _pop_or_mark(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _remember(self, index: int) -> None:
        value = self._memo[index] = self._top()
        if isinstance(value, Passive):
            self._unbuilt.setdefault(id(value), []).append(index)

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self._damaged("it refers to a value that it does not have")
        self._push(self._memo[index])

    # Containers.

    def _tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self._push(tuple(reversed(items)))

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if type(target) is not list:
            raise self._damaged("items are added to what is no list")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise self._damaged("entries are added to what is no dict")
        target.update(zip(self._keys(items[::2]), items[1::2], strict=True))

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if type(target) is not set:
            raise self._damaged("members are added to what is no set")
        target.update(self._keys(items))

    def _keys(self, items: Iterable[Any]) -> Iterable[Any]:
        for item in items:
            if not is_key(item):
                raise self._bad(
                    f"has a {type(item).__name__} as a key, and keys are text or small integers; it was made "
                    "by hand"
                )
            yield item

    def _set_item(self) -> None:
        value = self._pop()
        self._update([self._pop(), value])

    def _append(self) -> None:
        value = self._pop()
        self._extend([value])

    # Numbers and text.

    def _integer(self, size: int) -> None:
        if size > _MAX_INTEGER_BYTES:
            raise self._bad(f"has an integer of {size:,} bytes, which no model needs; it was made by hand")
        self._push(int.from_bytes(self._read(size), "little", signed=True))

    # Names and calls.

    def _find(self, module: str, name: str) -> Global:
        found = Global(module, name)
        if (module, name) not in self._allowed:
            raise self._bad(
                f"names the global {found}, which has no place in such a file and is never called; nothing "
                "of the file was run. Do not open it with other tools; get the model from its authors"
            )
        return found

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._damaged("a global has no name")
        self._push(self._find(module, name))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise self._bad(
                "calls something that is no global; it is damaged or hostile, and nothing was run"
            )
        self._push(self._charged(self._call(function, arguments)))

    def _call(self, function: Global, arguments: tuple[Any, ...]) -> object:
        return self._checked(f"{function}", lambda: self._allowed[function.module, function.name](*arguments))

    def _checked(self, name: str, make: Callable[[], Any]) -> object:
        try:
            return make()
        except CheckpointError as error:
            told = str(error)
            raise CheckpointError(told if told.startswith(self._what) else f"{self._what}: {told}") from None
        except _MISUSE as error:
            raise self._bad(
                f"gives {name} what it does not take ({type(error).__name__}); it is damaged or made by hand"
            ) from error

    def _charged(self, made: object) -> object:
        size = getattr(made, "nbytes", None)
        if not isinstance(size, int):
            size = len(made) * 64 if isinstance(made, (dict, set, list)) else 0
            size = len(made) if isinstance(made, (bytes, str)) else size
        self._budget -= size
        if self._budget < 0:
            raise self._bad("unpacks to far more than it holds; it was made to exhaust this machine")
        return made

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Passive):
            made = self._charged(self._checked(f"a {type(target).__name__}", lambda: target.build(state)))
            self._stack[-1] = made
            for index in self._unbuilt.pop(id(target), ()):
                self._memo[index] = made
        elif type(target) in self._with_state:
            self._checked(f"a {type(target).__name__}", lambda: target.__setstate__(state))
        else:
            raise self._bad("sets attributes of what has none; it is damaged or hostile, and nothing was run")

    def _persistent_id(self) -> None:
        given = self._pop()
        if self._persistent is None:
            raise self._bad(
                "refers to objects outside of it, which files of this kind never do; it was made by hand"
            )
        function = self._persistent
        self._push(self._checked("a persistent id", lambda: function(given)))


def _sized(
    size: int, make: Callable[[RestrictedUnpickler, bytes], object]
) -> Callable[[RestrictedUnpickler], None]:
    # A length of `size` bytes, then so many bytes of data.
    return lambda machine: machine._push(make(machine, machine._read(machine._number(size))))


def _text(machine: RestrictedUnpickler, data: bytes) -> str:
    return machine._text(data)


def _bytes(machine: RestrictedUnpickler, data: bytes) -> bytes:
    return data


def _latin1(machine: RestrictedUnpickler, data: bytes) -> str:
    return data.decode("latin1")


_STOP = ord(".")
_HANDLERS: Mapping[int, Callable[[RestrictedUnpickler], object]] = {
    0x80: lambda m: m._read(1),  # PROTO
    0x95: lambda m: m._read(8),  # FRAME: only a hint
    ord("("): RestrictedUnpickler._mark,
    ord("0"): RestrictedUnpickler._pop_or_mark,
    ord("1"): lambda m: m._since_mark(),  # POP_MARK
    ord("2"): lambda m: m._push(m._top()),  # DUP
    ord("N"): lambda m: m._push(None),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    ord("J"): lambda m: m._push(int.from_bytes(m._read(4), "little", signed=True)),
    ord("K"): lambda m: m._push(m._number(1)),
    ord("M"): lambda m: m._push(m._number(2)),
    0x8A: lambda m: m._integer(m._number(1)),
    0x8B: lambda m: m._integer(m._number(4)),
    ord("G"): lambda m: m._push(struct.unpack(">d", m._read(8))[0]),
    0x8C: _sized(1, _text),
    ord("X"): _sized(4, _text),
    0x8D: _sized(8, _text),
    ord("U"): _sized(1, _latin1),  # text of Python 2
    ord("T"): _sized(4, _latin1),
    ord("C"): _sized(1, _bytes),
    ord("B"): _sized(4, _bytes),
    0x8E: _sized(8, _bytes),
    0x96: _sized(8, _bytes),  # BYTEARRAY8, which becomes the buffer of an array
    ord("]"): lambda m: m._push([]),
    ord("a"): RestrictedUnpickler._append,
    ord("e"): lambda m: m._extend(m._since_mark()),
    ord(")"): lambda m: m._push(()),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("t"): lambda m: m._push(tuple(m._since_mark())),
    ord("}"): lambda m: m._push({}),
    ord("s"): RestrictedUnpickler._set_item,
    ord("u"): lambda m: m._update(m._since_mark()),
    0x8F: lambda m: m._push(set()),
    0x90: lambda m: m._add(m._since_mark()),
    ord("c"): lambda m: m._push(m._find(m._line(), m._line())),
    0x93: RestrictedUnpickler._stack_global,
    ord("R"): lambda m: m._reduce(),
    0x81: lambda m: m._reduce(),  # NEWOBJ: here a class and a function are the same
    ord("b"): RestrictedUnpickler._build,
    ord("Q"): RestrictedUnpickler._persistent_id,
    0x94: lambda m: m._remember(len(m._memo)),
    ord("q"): lambda m: m._remember(m._number(1)),
    ord("r"): lambda m: m._remember(m._number(4)),
    ord("h"): lambda m: m._recall(m._number(1)),
    ord("j"): lambda m: m._recall(m._number(4)),
}
