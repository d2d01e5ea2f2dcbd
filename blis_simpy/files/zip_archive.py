"""Archives: named texts and arrays in one zip file, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.files.byte_source import MIB
from blis_simpy.files.outputs import write_bytes
from blis_simpy.files.text_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["read_archive", "write_archive"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold: no clock gets into the bytes
_CHECKSUM = "checksum"
_UNPACKED_BYTES = 256 * MIB
_UNPACKED_RATIO = 200
"""An archive may hold `_UNPACKED_BYTES`, and this multiple of its own size."""
_BROKEN = (EOFError, KeyError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError)
"""What `zipfile` raises beside its own error."""


def write_archive(path: str | os.PathLike[str], texts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write texts and arrays whole, or not at all.

    Parameters
    ----------
    path : path-like
        File to write or to replace.
    texts : mapping of str to str
        By name inside the archive.
    arrays : mapping of str to ndarray
        By name inside the archive, without the ending ``.npy`` that they get; arrays of objects must hold text.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    """
    contents = {name: text.encode() for name, text in texts.items()}
    for name, array in arrays.items():
        content = io.BytesIO()
        plain = np.array(array.tolist(), dtype=str) if array.dtype == object else array
        np.lib.format.write_array(content, plain, allow_pickle=False)
        contents[f"{name}.npy"] = content.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, data in {**contents, _CHECKSUM: _checksum(contents)}.items():
            archive.writestr(_member(name), data)
    write_bytes(path, buffer.getvalue())


def _checksum(contents: Mapping[str, bytes]) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for name, content in sorted(contents.items()):
        state.update(f"{name}\n{len(content)}\n".encode() + content)
    return state.hexdigest().encode()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Read what `write_archive` wrote.

    Returns
    -------
    texts : dict of str to str
    arrays : dict of str to ndarray
        Text comes back as objects.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is no such archive, or was altered.
    """
    file = os.fspath(path)
    data = read_bytes(path)
    try:
        contents = _unpacked(data)
        if contents.pop(_CHECKSUM, b"") != _checksum(contents):
            raise ValueError("its content does not have the checksum that it was written with")
    except (zipfile.BadZipFile, zlib.error, *_BROKEN) as broken:
        raise ScenarioError.at("", f"is no archive of ours: {broken}", file=file) from None
    texts: dict[str, str] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, content in contents.items():
        if name.endswith(".npy"):
            array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
            arrays[name.removesuffix(".npy")] = array.astype(object) if array.dtype.kind == "U" else array
        else:
            texts[name] = content.decode()
    return texts, arrays


def _unpacked(data: bytes) -> dict[str, bytes]:
    limit = max(_UNPACKED_BYTES, _UNPACKED_RATIO * len(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > limit:
            raise ValueError(f"it holds more than {limit // MIB} MiB")
        return {member.filename: archive.read(member) for member in members}
