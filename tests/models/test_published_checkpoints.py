"""Sizes of published checkpoints, where a collection of them is at hand (BLIS_MODELS, or beside the checkout)."""

import csv
import importlib.util
import os
from pathlib import Path

import pytest

from blis_simpy.errors import ScenarioError

COLLECTION = Path(os.environ.get("BLIS_MODELS") or Path(__file__).parents[3] / "shared" / "models")
TOLERANCE = 0.02

pytestmark = pytest.mark.skipif(not COLLECTION.is_dir(), reason="the collection of checkpoints is not here")


def model_size(folder):
    spec = importlib.util.spec_from_file_location("models_adapter", Path(__file__).with_name("adapter.py"))
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    return adapter.model_size(folder)


def is_right(size, row):
    """Whether a size agrees with the figures that are known of a checkpoint."""
    params, growth = row["params_billion"], row["kv_bytes_per_token_growing"]
    right = not params or abs(size["params"] / (float(params) * 1e9) - 1) <= TOLERANCE
    return right and (not growth or size["kv_bytes_per_token"] == float(growth))


def test_sizes_of_published_checkpoints(capsys):
    rows = list(csv.DictReader((COLLECTION / "truth.csv").read_text().splitlines()))
    refused, wrong = {}, {}
    for row in rows:
        try:
            size = model_size(COLLECTION / "configs" / row["config"])
        except ScenarioError as error:
            refused[row["config"]] = str(error)
        else:
            if not is_right(size, row):
                wrong[row["config"]] = size
    with capsys.disabled():
        print(f"\n  {len(rows) - len(refused) - len(wrong)} of {len(rows)} right, {len(refused)} refused", end="")
    assert wrong == {}
    assert refused == {}
