"""Workload of a single client, which the flags of the command line describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.settings.bounds import MAX_COUNT, MAX_REQUESTS
from blis_simpy.settings.field_types import Rate
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.workload.spec.arrival import ARRIVALS, ArrivalField, check_cv
from blis_simpy.workload.spec.length_distribution import LENGTHS, LengthField, default_lengths
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.workload.spec.client import Client, TrafficSource
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


@settings_class
class Workload(Traffic):
    """Independent requests of one client; `WorkloadSpec` describes many clients. Defaults are those of the reference.

    Examples
    --------
    >>> Workload(rate="600/min", num_requests=50, prompt=512).rate
    10.0
    """

    rate: Rate = setting(
        default=1.0,
        help="Requests per second; inf means all at once, at tick 0.",
        unit="1/s",
        gt=0,
        finite=False,
        dimension="rate",
        flag="--rate",
    )
    num_requests: int = setting(
        default=100,
        help="Number of requests; 0 means all that arrive before the horizon.",
        unit="requests",
        ge=0,
        le=MAX_REQUESTS,
        flag="--num-requests",
    )
    arrivals: ArrivalField = setting(
        factory=_default_arrivals, help="Arrival process.", kind="arrivals", forms=ARRIVALS
    )
    prompt: LengthField = setting(
        factory=default_lengths,
        help="Prompt lengths, without the shared prefix.",
        flag="--prompt-tokens",
        unit="tokens",
        kind="lengths",
        forms=LENGTHS,
    )
    output: LengthField = setting(
        factory=default_lengths,
        help="Output lengths.",
        flag="--output-tokens",
        unit="tokens",
        kind="lengths",
        forms=LENGTHS,
    )
    prefix_tokens: int = setting(
        default=0,
        help="Length of a prefix that all prompts share, in addition to their own length.",
        unit="tokens",
        ge=0,
        le=MAX_COUNT,
        flag="--prefix-tokens",
    )
    max_in_flight: int | None = setting(
        default=None,
        help="Largest number of requests in flight; others wait at the client. Unset means no limit.",
        unit="requests",
        ge=1,
        flag="--max-in-flight",
    )
    preset: str | None = setting(
        default=None, help="Preset of the defaults file, whose lengths and prefix replace those given here."
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
        return evolved(self, preset=None, prompt=prompt, output=output, prefix_tokens=preset.prefix_tokens)

    def mean_rate(self) -> float:
        """Return the rate."""
        return self.rate

    def with_rate(self, rate_per_s: float) -> Workload:
        """Return the same workload with another rate; see `Traffic.with_rate`."""
        return evolved(self, rate=rate_per_s)

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
            As `with_preset` does, or if the rate is infinite.
        """
        from blis_simpy.workload.workload_spec import WorkloadSpec

        client = self.with_preset(defaults)._client()
        return WorkloadSpec(
            clients=(client,),
            aggregate_rate=self.rate,
            num_requests=self.num_requests,
            max_in_flight=self.max_in_flight,
        )

    def sources(self, defaults: str | None = None) -> list[TrafficSource]:
        """Return the only client; see `Traffic.sources`."""
        from blis_simpy.workload.spec.client import TrafficSource

        client = self.with_preset(defaults)._client()
        return [TrafficSource(_CLIENT, _STREAM, client, self.rate, 0, _CLIENT)]

    def _client(self) -> Client:
        from blis_simpy.workload.spec.client import Client

        return Client(
            id=_CLIENT,
            rate_fraction=1.0,
            arrival=self.arrivals,
            input_distribution=self.prompt,
            output_distribution=self.output,
            prefix_group=_PREFIX_GROUP if self.prefix_tokens else "",
            prefix_length=self.prefix_tokens,
        )
