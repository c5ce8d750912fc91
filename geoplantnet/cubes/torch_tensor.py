"""Plain tensors in torch's file format, without torch and without executing a pickle. path <-> array.

A .pt file is an uncompressed ZIP: raw values, and a pickle that says their type, shape and strides. The pickle of one
plain tensor is a handful of opcodes; they are parsed here as data, and any other is refused. A pickle can name any
function to call: nothing here calls one (`torch.load(weights_only=True)` has been bypassed before).
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError

_TYPES = {
    "torch FloatStorage": "f4",
    "torch DoubleStorage": "f8",
    "torch HalfStorage": "f2",
    "torch ByteStorage": "u1",
    "torch CharStorage": "i1",
    "torch ShortStorage": "i2",
    "torch IntStorage": "i4",
    "torch LongStorage": "i8",
}
_REBUILD, _HOOKS = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_MOST_BYTES = 1 << 26
_MOST_PICKLE = 1 << 12
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """What a pickle would import: here a word."""

    text: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    member: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensor(path: str | Path) -> npt.NDArray[Any]:
    """The one plain tensor of a .pt file, at most 64 MiB, in C order. Raises InputError for anything else, by its reason."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no tensor file at {file}")
    try:
        return _read(file)
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        OverflowError,
        struct.error,
    ) as error:
        raise InputError(f"{file} is no torch file of one plain tensor ({error}); save it again with torch.save(tensor, path)") from error


def write_tensor(path: str | Path, values: npt.NDArray[np.floating]) -> None:
    """Write a float32 tensor as torch reads it; the same values, the same bytes (wrap it in `storage.write_beside`)."""
    array = np.asarray(values, "<f4", order="C")
    strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
    pickled = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
        + _integer(array.size)
        + b"tQ"
        + _integer(0)
        + b"".join(b"(" + b"".join(map(_integer, numbers)) + b"t" for numbers in (array.shape, strides))
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), ("data/0", array.tobytes()), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), content)


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _read(file: Path) -> npt.NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}

        def content(name: str, most: int) -> bytes:
            info = members[name]
            if info.file_size > most or info.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"{file}: its {name} of {info.file_size} bytes is compressed or larger than {most} bytes; not read")
            return archive.read(info)

        named = [name for name in members if name.endswith("/data.pkl")]
        if len(named) != 1:
            raise ValueError(f"{len(named)} members named data.pkl")
        folder = named[0].removesuffix("data.pkl")
        order = content(f"{folder}byteorder", 16) if f"{folder}byteorder" in members else b"little"
        tensor = _parse(content(named[0], _MOST_PICKLE))
        dtype = np.dtype({b"little": "<", b"big": ">"}[order] + tensor.storage.dtype)
        values = np.frombuffer(content(f"{folder}data/{tensor.storage.member}", _MOST_BYTES), dtype)
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"shape {tensor.shape}, strides {tensor.strides}, offset {tensor.offset}")
    if math.prod(tensor.shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"shape {tensor.shape} is larger than {_MOST_BYTES} bytes")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides))
    if math.prod(tensor.shape) and last >= values.size:
        raise ValueError(f"shape {tensor.shape} with strides {tensor.strides} reaches beyond its {values.size} values")
    byte_strides = tuple(step * dtype.itemsize for step in tensor.strides)
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, byte_strides, writeable=False)
    return np.array(view, dtype.newbyteorder("="), order="C")


def _parse(pickled: bytes) -> _Tensor:
    """The tensor a pickle describes. Raises ValueError for any opcode or name a plain tensor does not need."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        match opcode.name:
            case "PROTO":
                pass
            case "MARK":
                stack.append(_MARK)
            case "GLOBAL":
                stack.append(_Name(str(argument)))
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NEWFALSE" | "NEWTRUE":
                stack.append(opcode.name == "NEWTRUE")
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                _fold(stack, len(stack) - int(opcode.name[-1]))
            case "TUPLE":
                start = max(i for i, item in enumerate(stack) if item is _MARK)
                _fold(stack, start + 1)
                del stack[start]
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_described(name, arguments))
            case "STOP":
                result = stack.pop()
                if stack or not isinstance(result, _Tensor):
                    raise ValueError("it holds something else than one tensor")
                return result
            case other:
                raise ValueError(f"a plain tensor needs no pickle opcode {other}")
    raise ValueError("its pickle has no end")


def _fold(stack: list[Any], start: int) -> None:
    if start < 0:
        raise ValueError("its pickle takes more than it has")
    stack[start:] = [tuple(stack[start:])]


def _storage(said: Any) -> _Storage:
    kind, name, member, _, size = said
    if kind != "storage" or not isinstance(name, _Name) or name.text not in _TYPES or not str(member).isalnum():
        raise ValueError(f"values of kind {said!r}")
    return _Storage(_TYPES[name.text], str(member), size)


def _described(name: Any, arguments: Any) -> Any:
    if name == _Name(_HOOKS) and arguments == ():
        return ()  # backward hooks: none
    if name == _Name(_REBUILD) and isinstance(arguments, tuple) and len(arguments) >= 4 and isinstance(arguments[0], _Storage):
        return _Tensor(*arguments[:4])
    raise ValueError(f"a plain tensor needs no call of {name.text if isinstance(name, _Name) else name!r}")
