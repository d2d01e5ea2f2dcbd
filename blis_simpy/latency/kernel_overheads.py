"""What a step takes beyond the kernels' benchmarks: overheads of vLLM, which are options of the latency model."""

from __future__ import annotations

from blis_simpy.settings.fields import setting, settings_class

__all__ = ["KernelOverheads"]


@settings_class
class KernelOverheads:
    """Overheads and correction factors of the latency model ``kernels``.

    Notes
    -----
    Source: a maximum-a-posteriori fit to eight stable runs of vLLM 0.15.1 on H100 GPUs (see the page on accuracy) and
    to 71 groups of published decode times on H100, H200, B200 and B300. Their standard errors are in the third to first
    digit; the digits beyond are those of the recorded step times that an implementation is checked with. All factors
    multiply a time: above 1 is slower. The first three correct the GPU's figures; ``blis fit`` estimates them, with
    some of the others, for a server of your own.
    """

    mem: float = setting(default=1.0, help="Factor on the time of memory traffic.", gt=0)
    comp: float = setting(default=1.0, help="Factor on the time of arithmetic.", gt=0)
    link: float = setting(default=1.0, help="Factor on the time of traffic between GPUs.", gt=0)
    gemm: float = setting(default=0.9669927518, help="Factor on matrix products: in a CUDA graph against alone.", gt=0)
    gemm8: float = setting(default=0.9346994937, help="Further factor on FP8 products.", gt=0)
    gemm4: float = setting(default=0.9707871741, help="Further factor on FP4 products.", gt=0)
    moe: float = setting(default=1.000314366, help="Factor on the products of experts and their router.", gt=0)
    moe8: float = setting(default=0.9880393204, help="Further factor on those of quantised experts.", gt=0)
    kv: float = setting(default=0.9920977996, help="Factor on KV reads of decode attention.", gt=0)
    attn: float = setting(
        default=0.7751010864,
        help="Time beyond the decode attention kernel, a layer.",
        unit="us",
        ge=0,
    )
    elem: float = setting(
        default=2.422150332,
        help="Fixed time of a normalisation or activation kernel.",
        unit="us",
        ge=0,
    )
    ar: float = setting(default=-0.9169514219, help="Time of an all-reduce beyond its benchmark.", unit="us")
    ar_gpu: float = setting(
        default=3.264701384,
        help="The same a GPU beyond two, for at most two of them.",
        unit="us",
        ge=0,
    )
    ar_bw: float = setting(default=1.003151951, help="Bandwidth of an all-reduce against its benchmark.", gt=0)
    step: float = setting(default=155.8127187, help="Fixed time of a step.", unit="us", ge=0)
    seq: float = setting(default=1.692397942, help="Time a request in the step.", unit="us", ge=0)
    mixed_layer: float = setting(
        default=24.65561241,
        help="Time a layer of a step with prompts, which runs in pieces of a CUDA graph.",
        unit="us",
        ge=0,
    )
    host: float = setting(
        default=2000.0,
        help="Time that the host needs for a step at least; assumed.",
        unit="us",
        ge=0,
    )
    host_seq: float = setting(default=12.0, help="The same for each request in it; assumed.", unit="us", ge=0)
    api: float = setting(default=6134.7294, help="Delay of a request before it is queued.", unit="us", ge=0)
    api_tp: float = setting(default=1757.7907, help="The same with tensor parallelism, in addition.", unit="us", ge=0)
