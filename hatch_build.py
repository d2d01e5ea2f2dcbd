"""Build hook of the wheel: compiles the modules of the hot path with mypyc, if `BLIS_SIMPY_COMPILE=1` is set.

Without the variable the hook does nothing, and the wheel is pure Python. The list of modules and the configuration of
mypy for the compilation are in pyproject.toml, `[tool.hatch.build.targets.wheel.hooks.custom]`. An editable
installation is always interpreted, because extensions would hide later changes of their sources.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface[Any]):
    """Adds extensions beside the sources, which stay in the wheel."""

    def _is_requested(self) -> bool:
        return os.environ.get("BLIS_SIMPY_COMPILE", "0") not in ("", "0")

    def dependencies(self) -> list[str]:
        """Return what the build environment needs."""
        return list(self.config["compiler"]) if self._is_requested() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules, and add the extensions to the wheel."""
        if not self._is_requested() or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="blis_simpy-")
        built = Path(self._folder.name)
        with chdir(self.root):
            extensions = _compile(self.config["modules"], self.config["mypy"], built)
        build_data["force_include"].update(extensions)
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the extensions, which are in the wheel now."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _compile(modules: list[str], mypy: list[str], built: Path) -> dict[str, str]:
    """Compile modules into a folder; return the path of each extension, and its path in the wheel."""
    # Not needed by a pure build.
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    settings = built / "mypy.ini"
    settings.write_text("\n".join(mypy), encoding="utf-8")
    options = ["--config-file", str(settings), "--cache-dir", str(built / "cache")]
    extensions = mypycify([*options, *modules], group_name="blis_simpy", target_dir=str(built / "c"), debug_level="0")
    command = build_ext(Distribution({"name": "blis_simpy", "ext_modules": extensions}))
    library = built / "lib"
    command.build_lib = str(library)
    command.build_temp = str(built / "objects")
    command.ensure_finalized()
    command.run()
    return {str(path): path.relative_to(library).as_posix() for path in sorted(library.rglob("*")) if path.is_file()}
