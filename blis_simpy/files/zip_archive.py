"""Archives: named texts and arrays in one zip file, the same bytes for the same content."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.files.text_files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["read_archive", "write_archive"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold: no clock gets into the bytes


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
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, text in texts.items():
            archive.writestr(_member(name), text)
        for name, array in arrays.items():
            content = io.BytesIO()
            plain = np.array(array.tolist(), dtype=str) if array.dtype == object else array
            np.lib.format.write_array(content, plain, allow_pickle=False)
            archive.writestr(_member(f"{name}.npy"), content.getvalue())
    write_bytes(path, buffer.getvalue())


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
        If the file cannot be read or is no such archive.
    """
    texts: dict[str, str] = {}
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                if name.endswith(".npy"):
                    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
                    arrays[name.removesuffix(".npy")] = array.astype(object) if array.dtype.kind == "U" else array
                else:
                    texts[name] = content.decode()
    except OSError as refused:
        raise ScenarioError.at("", f"cannot be read: {refused.strerror}", file=os.fspath(path)) from None
    except (zipfile.BadZipFile, ValueError) as broken:
        raise ScenarioError.at("", f"is no archive of ours: {broken}", file=os.fspath(path)) from None
    return texts, arrays
