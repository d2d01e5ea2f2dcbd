"""Sizes of published checkpoints, in the form in which a collection of them is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blis_simpy.catalog.models import load_model_config


def model_size(folder: str | Path) -> dict[str, Any]:
    """Return the sizes of the checkpoint whose configuration files are in a folder.

    Parameters
    ----------
    folder : str or Path
        Holds a ``config.json``, and maybe a ``hf_quant_config.json``.

    Returns
    -------
    dict
        ``params``: weights of the language model; ``kv_bytes_per_token``: bytes by which the KV cache grows with each
        token, in the number type of the model, whatever type the checkpoint asks for in its cache.

    Raises
    ------
    ScenarioError
        If the configuration is not understood; names the key and why.
    """
    architecture = load_model_config(folder, Path(folder).name).architecture
    return {
        "params": architecture.parameters,
        "kv_bytes_per_token": architecture.kv_numbers_per_token * architecture.compute_bytes,
    }
