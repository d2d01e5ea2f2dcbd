"""Recorded figures of the latency models with global coefficients, and how to build what they were recorded with."""

import json
from pathlib import Path

from blis_simpy import registry
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import Gpu, load_gpus
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.latency.base import LatencyInputs, StepBatch, StepMember

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "trained_kernels.json").read_text())
DEPLOYMENTS = {deployment["id"]: deployment for deployment in RECORDED["deployments"]}

E1 = [(512, 0, 512, 128)]
E2 = [(512, 512, 1, 128)]
E3 = [(512, 0, 512, 128), (300, 400, 1, 200), (1024, 1024, 1, 64)]
E4 = [(300 + i, 300 + i, 1, 64) for i in range(64)]
E5 = [(4096, 2048, 2048, 10)]


def of_backend(section, backend):
    """Recorded steps or runs that have a figure of this backend."""
    key = "step_time" if section == "steps" else "step_times"
    return [case for case in RECORDED[section] if backend in case[key]]


def recorded_model(backend, deployment_id):
    deployment = DEPLOYMENTS[deployment_id]
    return built(backend, deployment, deployment["coefficients"][backend])


def built(backend, deployment, coefficients):
    inputs = LatencyInputs(
        alpha=tuple(coefficients["alpha"]),
        beta=tuple(coefficients["beta"]),
        model=ModelSpec(name="acme/m", **deployment["model"]),
        gpu=Gpu(**deployment["gpu"]),
        tp=deployment["tp"],
    )
    return registry.get("latency", backend)(inputs, **deployment["options"])


def published(backend, model, gpu="H100", tp=1, **options):
    """Build a backend with the coefficients it comes with."""
    catalog, cls = Catalog.load(), registry.get("latency", backend)
    found = catalog.global_coefficients(cls.global_coefficients)
    spec = catalog.model(model)
    return cls(LatencyInputs(alpha=found.alpha, beta=found.beta, model=spec, gpu=load_gpus()[gpu], tp=tp), **options)


def batch_of(rows):
    return StepBatch.of([StepMember(*row) for row in rows])


def decodes(contexts):
    return StepBatch((), len(contexts), sum(contexts), lambda: contexts)


def delays(model, input_tokens):
    return (
        model.queueing_time(input_tokens),
        model.output_token_processing_time(),
        model.post_decode_overhead(),
    )


def recorded_delays(step, backend):
    names = ("queueing_time", "output_token_processing_time", "post_decode_overhead")
    return tuple(step[name][backend] for name in names)
