"""Coefficients of kernel times: of shipped GPUs, of a file of one's own, and of a GPU that nobody measured."""

import json
from pathlib import Path

import pytest

from blis_simpy.catalog.hardware import Gpu, load_gpus
from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.errors import ScenarioError

SHARED = Path(__file__).parents[3] / "shared" / "silicon" / "gpu-kernel-coefficients.json"
NAMES = {
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "A100-SXM": "a100_sxm",
    "L40S": "l40s",
    "RTX-PRO-6000": "rtx_pro_6000_server",
}


def of_file(tmp_path, entry, name="G"):
    file = tmp_path / "gpus.json"
    file.write_text(json.dumps({name: {"TFlopsPeak": 100, "BwPeakTBs": 1.5, **entry}}))
    return kernel_coefficients(load_gpus(file)[name])


def test_gpu_of_an_older_hardware_file_gets_shipped_coefficients_by_its_name_and_keeps_its_rates(tmp_path):
    mine, shipped = of_file(tmp_path, {}, "H100"), kernel_coefficients(load_gpus()["H100"])
    assert (mine.gemm, mine.all_reduce) == (shipped.gemm, shipped.all_reduce)
    assert (mine.bandwidth_tb_s, mine.bf16_tflops, mine.fp8_tflops, mine.link_gb_s) == (1.5, 100, 0, 450)
    assert mine.source.startswith("coefficients of the shipped H100")


def test_unknown_gpu_gets_typical_coefficients_and_the_link_of_its_class(tmp_path):
    unknown = of_file(tmp_path, {})
    assert unknown.source == "estimated: medians over the measured GPUs"
    assert unknown.gemm["bf16"].memory_efficiency == 0.8288
    assert unknown.link_gb_s == 32
    assert kernel_coefficients(Gpu("big", tflops=100, bandwidth_tb_s=4.0)).link_gb_s == 450


def test_coefficients_of_ones_own_may_be_few(tmp_path):
    prefill = {"fixed_us": 1, "compute_efficiency": 0.5, "memory_efficiency": 0.25}
    mine = of_file(tmp_path, {"kernels": {"source": "my bench", "prefill_attention": prefill, "link_gb_s": 64}})
    assert (mine.source, mine.link_gb_s, mine.prefill_attention.fixed_us) == ("my bench", 64, 1)
    assert mine.gemm["bf16"].memory_efficiency == 0.8288


def test_gpu_may_be_like_another_but_for_some_figures():
    other, like = (kernel_coefficients(load_gpus()[name]) for name in ("L40S", "L4"))
    assert like.gemm == other.gemm
    assert (like.bandwidth_tb_s, other.bandwidth_tb_s) == (0.3, 0.864)
    assert like.source.startswith("estimated")


def test_all_wrong_figures_are_named_at_once(tmp_path):
    gemm = {"fixed_us": -1, "memory_efficiency": 0, "compute_efficiency": "x", "overlap": 0.5, "arithmetic": "fp3"}
    with pytest.raises(ScenarioError) as caught:
        of_file(tmp_path, {"kernels": {"link_gb_s": None, "gemm": {"fp8": gemm}, "experts": []}})
    assert [f"{problem.path} {problem.rule}" for problem in caught.value.problems] == [
        "gpu.kernels.link_gb_s must be a finite number > 0",
        "gpu.kernels.gemm.fp8.arithmetic must be one of bf16, fp8, fp4",
        "gpu.kernels.gemm.fp8.fixed_us must be a finite number >= 0",
        "gpu.kernels.gemm.fp8.memory_efficiency must be a finite number > 0",
        "gpu.kernels.gemm.fp8.compute_efficiency must be a finite number > 0",
        "gpu.kernels.gemm.fp8.overlap must be >= 1",
        "gpu.kernels.gemm must have the weight type bf16",
        "gpu.kernels.experts must be an object",
    ]


@pytest.mark.skipif(not SHARED.is_file(), reason="the corpus is not beside the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_shipped_coefficients_agree_with_the_corpus(name):
    theirs = json.loads(SHARED.read_text())["gpus"][NAMES[name]]
    ours = kernel_coefficients(load_gpus()[name])
    rates = [ours.bandwidth_tb_s * 1e12, ours.bf16_tflops * 1e12, ours.fp8_tflops * 1e12, ours.fp4_tflops * 1e12]
    recorded = [theirs[key] or 0 for key in ("bandwidth_B_s", "bf16_flop_s", "fp8_flop_s", "fp4_flop_s")]
    assert [*rates, ours.link_gb_s * 1e9] == pytest.approx([*recorded, theirs["link_B_s"]], rel=1e-12)
    types = {"bf16": "bfloat16", "fp8": "fp8", "nvfp4": "nvfp4"}
    for weights, kernel in ours.gemm.items():
        of = theirs["gemm"][types[weights]]
        assert (kernel.fixed_us, kernel.memory_efficiency, kernel.compute_efficiency) == (of["t0"], of["em"], of["ec"])
        assert (kernel.overlap, kernel.extra_passes) == (of["p"], 0 if weights == "bf16" else of["aq"])
    fp8 = "fp8_block" if "fp8_block" in theirs["moe"] else "fp8"
    mxfp4 = "w4a8_mxfp4_mxfp8" if "w4a8_mxfp4_mxfp8" in theirs["moe"] else "w4a16_mxfp4"
    types |= {"fp8": fp8, "mxfp4": mxfp4, "int4": "int4_wo"}
    for weights, kernel in ours.experts.items():
        of = theirs["moe"][types[weights]]
        assert (kernel.fixed_us, kernel.memory_efficiency, kernel.compute_efficiency) == (of["t0"], of["em"], of["ec"])
        assert (kernel.overlap, kernel.extra_passes) == (of["q"], of["ca"])
    for kind, kernel in ours.decode_attention.items():
        of = theirs["attention_decode"]["bfloat16" if kind == "bf16" else kind]
        assert (kernel.fixed_us, kernel.cold_us, kernel.memory_efficiency) == (of["a0"], of["a1"], of["e"])
        assert (kernel.head_us, kernel.overlap) == (of["c"], of["q"])
    of, prefill = theirs["attention_prefill"], ours.prefill_attention
    assert (prefill.fixed_us, prefill.compute_efficiency, prefill.memory_efficiency) == (of["t0"], of["ec"], of["em"])
    of, reduce = theirs["all_reduce"], ours.all_reduce
    assert (reduce.fixed_us, reduce.per_gpu_us) == (of["t0"], of["per_gpu"])
    assert (reduce.pair_efficiency, reduce.group_efficiency) == (of["b2"], of["bn"])
