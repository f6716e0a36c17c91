"""Pickles of arrays, read without running them.

`pickle.load` calls whatever a file names, and even NumPy's own rebuilding trusts what it is told: a forged dtype makes
it read any bytes as pointers. So nothing is called here. The standard library's `pickletools` takes the file apart,
and a machine of a few dozen opcodes puts together what they describe: numbers, strings, lists, tuples, dicts and
arrays of plain dtypes. Everything else is refused, a global by its name. No claim of a size is believed: arrays are
views of bytes that the file really holds, all of them together no larger than the file.
"""

import math
import mmap
import pickletools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from emsa_jax.errors import InputError

_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}|O[48]?")  # an itemsize of 0 would fit any shape
_MAX_RANK = 8


class _Global(NamedTuple):
    module: str
    name: str


class Array:
    """An array as it is being put together; `value` is None until its bytes have come.

    value: np.ndarray of kind b, i, u, f, U or S, read-only; or a tuple of str for a one-dimensional array of objects,
    which may be nothing but strings.
    """

    def __init__(self) -> None:
        self.value: np.ndarray | tuple[str, ...] | None = None


class _Dtype:
    def __init__(self, name: Any) -> None:
        name = text(name)
        if not _DTYPE.fullmatch(name):
            raise InputError(f"it holds an array of dtype {name[:20]!r}; only numbers and strings are read")
        self.dtype = np.dtype(name)

    def build(self, state: tuple) -> None:
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise InputError("it holds an array of structures; only numbers and strings are read")
        if (order := text(order)) in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def load(file: bytes | mmap.mmap) -> Any:
    """What a pickle of any protocol holds: arrays as `Array`, strings of Python 2 as bytes (see `text`).

    Raises InputError for anything but plain values and arrays, naming the global where the file asks for one, and for
    a damaged file. Time and memory are linear in the size of the file.
    """
    machine = _Machine(len(file))
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
        return value
    except InputError:
        raise
    except Exception as error:  # whatever damaged bytes make of the parser and of the stack
        raise InputError(f"it is not a sound pickle of arrays ({' '.join(str(error).split())[:100]})") from error


def text(value: Any) -> str:
    """A string; Python 2 wrote those of bytes, which are taken for UTF-8. TypeError for anything else."""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of a string")
    return value


def strings(values: Sequence[Any]) -> tuple[str, ...]:
    """Strings, with "" for missing ones (None and NaN, as tables have them). TypeError for anything else."""
    return tuple("" if v is None or isinstance(v, float) and v != v else text(v) for v in values)


class _Machine:
    """The stack, the marks on it and the memo of a pickle, fed one opcode after the other."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._left = size  # bytes of the file that arrays may still claim

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case _ if name in _VALUES:
                stack.append(argument)
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument.encode("latin-1"))  # as pickletools decoded it
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "MARK":
                self._marks.append(len(stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_DICT":
                stack.append({"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}[name]())
            case "LIST" | "TUPLE":
                stack.append((list if name == "LIST" else tuple)(self._to_mark()))
            case "DICT":
                stack.append(_set({}, self._to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self._pop(1) if name == "APPEND" else self._to_mark()
                _expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._pop(2) if name == "SETITEM" else self._to_mark()
                _set(_expect(stack[-1], dict), items)
            case "GLOBAL" | "INST":
                stack.append(_known(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_known(*map(text, self._pop(2))))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(_FUNCTIONS[_expect(function, _Global)](self, *_expect(arguments, tuple)))
            case "BUILD":
                (state,) = self._pop(1)
                self._build(stack[-1], _expect(state, tuple))
            case _:
                raise InputError(f"it uses the pickle opcode {name}, which no array needs")

    def fill(self, array: Array, shape: tuple, dtype: _Dtype, column_major: bool, content: Any) -> Array:
        """Gives an array its bytes, or an array of objects its list of strings."""
        dtype = _expect(dtype, _Dtype).dtype
        shape = tuple(_expect(n, int) for n in _expect(shape, tuple))
        if len(shape) > _MAX_RANK or any(not 0 <= n < 2**48 for n in shape):
            raise InputError("it holds an array whose shape is no shape")
        content = _expect(content, list if dtype.hasobject else bytes | bytearray)
        itemsize = 1 if dtype.hasobject else dtype.itemsize
        if math.prod(shape) * itemsize != len(content):
            raise InputError(
                f"it holds an array of shape {list(shape)} and dtype {dtype.str} with content for "
                f"{len(content)} bytes or items; the file is damaged"
            )
        self._left -= len(content)
        if self._left < 0:
            raise InputError("its arrays claim more than the file holds")
        if dtype.hasobject:
            if len(shape) != 1:
                raise InputError(f"it holds an array of objects of shape {list(shape)}; only lists of strings are read")
            array.value = strings(content)
        elif content:
            array.value = np.frombuffer(content, dtype).reshape(shape, order="F" if column_major else "C")
            array.value.flags.writeable = False
        else:
            array.value = np.empty(shape, dtype)
        return array

    def _build(self, target: Any, state: tuple) -> None:
        if isinstance(target, _Dtype):
            target.build(state)
        else:
            _, *rest = state
            self.fill(_expect(target, Array), *rest)

    def _pop(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        del self.stack[-count:]
        if len(items) < count or self._marks and len(self.stack) < self._marks[-1]:
            raise IndexError("its stack runs empty")
        return items

    def _to_mark(self) -> list[Any]:
        begin = self._marks.pop()
        items = self.stack[begin:]
        del self.stack[begin:]
        return items


# ---- the globals that arrays need, and what is done in their place ----


def _reconstruct(_: _Machine, kind: Any, *_shape_and_code: Any) -> Array:
    if kind != _NDARRAY:
        raise InputError("it holds a subclass of numpy.ndarray; only plain arrays are read")
    return Array()


def _frombuffer(machine: _Machine, content: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return machine.fill(Array(), shape, dtype, order == "F", content)


def _scalar(machine: _Machine, dtype: Any, content: Any) -> Any:
    value = machine.fill(Array(), (), dtype, False, content).value
    return value.item()


def _bytes(_: _Machine, value: Any = b"", encoding: Any = "latin1") -> bytes:
    """Protocols below 3 spell bytes as a string in latin-1."""
    if isinstance(value, str) and encoding in ("latin1", "latin-1"):
        return value.encode("latin-1")
    return bytes(_expect(value, bytes | bytearray))


_FUNCTIONS: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): lambda _, name, *__: _Dtype(name),
    ("_codecs", "encode"): _bytes,
}
for _core in ("numpy.core", "numpy._core"):  # as NumPy 1 and 2 call it
    _FUNCTIONS |= {
        (f"{_core}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _frombuffer,
    }
for _builtins in ("builtins", "__builtin__"):
    _FUNCTIONS |= {(_builtins, "bytes"): _bytes, (_builtins, "bytearray"): _bytes}
_NDARRAY = _Global("numpy", "ndarray")
_VALUES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
}


def _known(module: str, name: str) -> _Global:
    if (module, name) not in _FUNCTIONS and (module, name) != _NDARRAY:
        raise InputError(
            f"it asks for {module}.{name}"[:200] + ", which may run code; only arrays, numbers and strings are read"
        )
    return _Global(module, name)


def _set(target: dict, items: list[Any]) -> dict:
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[text(key)] = value  # strings alone: hashing a deeply nested tuple would exhaust the C stack
    return target


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} instead of {getattr(kind, '__name__', kind)}")
    return value
