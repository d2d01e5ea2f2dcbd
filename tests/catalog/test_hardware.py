import pytest

from blis_simpy.catalog.hardware import Gpu, find_gpu, load_gpus
from blis_simpy.errors import ScenarioError


def test_bundled_figures_of_h100():
    assert load_gpus()["H100"] == Gpu("H100", 989.5, 1979.0, 3.35, 0.45, 0.3, 80.0)


KNOWN = [
    *("A100-80", "A100-SXM", "B200", "B300", "GB200", "GB300", "H100"),
    *("H200", "L4", "L40S", "MI300X", "RTX-4090", "RTX-PRO-6000"),
]


def test_bundled_file_knows_the_gpus_of_the_reference_and_newer_ones():
    assert sorted(load_gpus()) == KNOWN


def test_entries_of_the_reference_are_as_they_were():
    figures = {
        "H100": (989.5, 1979.0, 3.35, 0.45, 0.3, 80.0),
        "A100-SXM": (312.0, 0.0, 2.039, 0.38, 0.18, 80.0),
        "A100-80": (312.0, 0.0, 2.039, 0.38, 0.18, 80.0),
        "L40S": (362.05, 0.0, 0.864, 0.32, 0.08, 48.0),
    }
    gpus = load_gpus()
    assert {name: gpus[name] for name in figures} == {name: Gpu(name, *of) for name, of in figures.items()}


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


@pytest.mark.parametrize(
    ("kernels", "problem"),
    [
        ("[]", "X.kernels must be an object, got []"),
        ('{"like": "Y"}', "X.kernels.like must be a GPU of the file with kernels, got 'Y'"),
        ('{"like": 3}', "X.kernels.like must be a GPU of the file with kernels, got 3"),
    ],
)
def test_kernels_that_are_no_object_or_like_no_other_are_named(kernels, problem, tmp_path):
    file = tmp_path / "gpus.json"
    file.write_text(f'{{"X": {{"kernels": {kernels}}}, "Y": {{}}}}')
    with pytest.raises(ScenarioError) as caught:
        load_gpus(file)
    assert str(caught.value) == f"{file}: {problem}"


def test_unknown_gpu_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ScenarioError) as caught:
        find_gpu(load_gpus(), "h100")
    assert str(caught.value) == (
        f"hardware is not a GPU of hardware_config.json, got 'h100'; did you mean 'H100'? known: {', '.join(KNOWN)}"
    )
