import pytest

from blis_simpy.catalog.hardware import Gpu, find_gpu, load_gpus
from blis_simpy.errors import ScenarioError


def test_bundled_figures_of_h100():
    assert load_gpus()["H100"] == Gpu("H100", 989.5, 1979.0, 3.35, 0.45, 0.3, 80.0)


def test_bundled_file_knows_the_gpus_of_the_reference():
    assert sorted(load_gpus()) == ["A100-80", "A100-SXM", "H100", "L40S"]


def test_keys_of_a_gpu_match_whatever_their_case_and_unknown_ones_are_ignored(tmp_path):
    file = tmp_path / "gpus.json"
    file.write_text('{"X": {"tflopspeak": 10, "MEMORYGIB": 24, "BwPeakTBs": null, "vendor": "acme"}}')
    assert load_gpus(file) == {"X": Gpu("X", tflops=10.0, memory_gib=24.0)}


def test_figure_that_is_no_number_is_named(tmp_path):
    file = tmp_path / "gpus.json"
    file.write_text('{"X": {"MemoryGiB": "80"}}')
    with pytest.raises(ScenarioError) as caught:
        load_gpus(file)
    assert str(caught.value) == f"{file}: X.MemoryGiB must be a number, got '80'"


def test_unknown_gpu_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ScenarioError) as caught:
        find_gpu(load_gpus(), "h100")
    assert str(caught.value) == (
        "hardware is not a GPU of hardware_config.json, got 'h100'; "
        "did you mean 'H100'? known: A100-80, A100-SXM, H100, L40S"
    )
