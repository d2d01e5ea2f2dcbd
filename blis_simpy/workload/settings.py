"""Workload of a single client: the short form, which the flags of the command line describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.settings.fields import Plugin, setting
from blis_simpy.workload.spec.arrival import arrival_setting, check_cv
from blis_simpy.workload.spec.length_distribution import length_setting
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.workload.spec.client import TrafficSource
    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = ["Workload"]

_CLIENT = "distribution"
"""Label of the only client, as in the reference."""
_PREFIX_GROUP = "shared"
"""Label of the prefix of all its prompts, as in the reference."""
_STREAM = "client-0"
"""Name of the client in random streams; another name would change the requests of every seed."""


# Plug-ins import numpy, which a command line's --help need not load.
def _default_arrivals() -> Any:
    from blis_simpy.workload.arrivals import ConstantArrivals

    return ConstantArrivals()


def _default_lengths() -> Any:
    from blis_simpy.workload.lengths import Gaussian

    return Gaussian(512, 256, 2, 7000)


@attrs.frozen(kw_only=True, repr=False)
class Workload(Traffic):
    """Independent requests of one client; `WorkloadSpec` describes many clients. Defaults are those of the reference.

    Examples
    --------
    >>> Workload(rate="600/min", num_requests=50, prompt=512).rate
    10.0
    """

    rate: float = setting(1.0, help="Requests per second.", unit="1/s", gt=0, dimension="rate", flag="--rate")
    num_requests: int = setting(
        100,
        help="Number of requests; 0 means all that arrive before the horizon.",
        unit="requests",
        ge=0,
        flag="--num-requests",
    )
    arrivals: Plugin = arrival_setting("arrivals", factory=_default_arrivals, help="Arrival process.")
    prompt: Plugin = length_setting(
        "prompt",
        factory=_default_lengths,
        help="Prompt lengths, without the shared prefix.",
        flag="--prompt-tokens",
    )
    output: Plugin = length_setting("output", factory=_default_lengths, help="Output lengths.", flag="--output-tokens")
    prefix_tokens: int = setting(
        0,
        help="Length of a prefix that all prompts share, in addition to their own length.",
        unit="tokens",
        ge=0,
        flag="--prefix-tokens",
    )
    preset: str | None = setting(
        None, help="Preset of the defaults file, whose lengths and prefix replace those given here."
    )

    def __attrs_post_init__(self) -> None:
        check_cv(self.arrivals, "arrivals")

    def with_preset(self, defaults: str | None = None) -> Workload:
        """Return the workload with the lengths and the prefix of its preset; without a preset, itself.

        Parameters
        ----------
        defaults : str, optional
            Defaults file; the shipped one unless given.

        Raises
        ------
        ScenarioError
            If there is no such preset.
        """
        if self.preset is None:
            return self
        from blis_simpy.catalog.defaults import Catalog
        from blis_simpy.workload.lengths import Gaussian

        preset = Catalog.load(defaults).preset(self.preset)
        prompt, output = (
            Gaussian(*(getattr(preset, f"{part}_tokens{figure}") for figure in ("", "_stdev", "_min", "_max")))
            for part in ("prompt", "output")
        )
        return attrs.evolve(self, preset=None, prompt=prompt, output=output, prefix_tokens=preset.prefix_tokens)

    def specification(self, defaults: str | None = None) -> WorkloadSpec:
        """Return the same traffic as a specification with one client.

        Its random streams have other names, so the requests of a seed are others.

        Parameters
        ----------
        defaults : str, optional
            As for `with_preset`.

        Raises
        ------
        ScenarioError
            As `with_preset` does.
        """
        from blis_simpy.workload.spec.client import Client
        from blis_simpy.workload.workload_spec import WorkloadSpec

        workload = self.with_preset(defaults)
        client = Client(
            id=_CLIENT,
            rate_fraction=1.0,
            arrival=workload.arrivals,
            input_distribution=workload.prompt,
            output_distribution=workload.output,
            prefix_group=_PREFIX_GROUP if workload.prefix_tokens else "",
            prefix_length=workload.prefix_tokens,
        )
        return WorkloadSpec(clients=(client,), aggregate_rate=workload.rate, num_requests=workload.num_requests)

    def sources(self, defaults: str | None = None) -> list[TrafficSource]:
        """Return the only client; see `Traffic.sources`."""
        return [source._replace(stream=_STREAM) for source in self.specification(defaults).sources()]
