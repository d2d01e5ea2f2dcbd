"""Traffic of a scenario, as one stream of independent requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from blis_simpy.settings.field_types import Accepts, Plugin, Rate
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.workload.arrivals import ArrivalProcess
from blis_simpy.workload.lengths import Constant, Gaussian, LengthSampler

if TYPE_CHECKING:
    from blis_simpy.workload.preview import Preview

__all__ = ["Traffic", "Workload"]

Arrivals: TypeAlias = str | Mapping[str, Any] | ArrivalProcess | Callable[..., ArrivalProcess]
"""Arrival process: a registered name, a mapping of type and options, an instance, or what makes one."""
Lengths: TypeAlias = LengthSampler | Mapping[str, Any]
"""Length distribution, or a mapping of its type and parameters."""


_REFERENCE_LENGTHS = Gaussian(512, 256, 2, 7000)


class Traffic:
    """Base of what a scenario has as its workload: a `Workload` or a `WorkloadSpec`."""

    __slots__ = ()

    @property
    def ends_at(self) -> int | None:
        """End of simulated time that the traffic itself sets, tick; None if it sets none."""
        return None


@settings_class
class Workload(Traffic):
    """Independent requests of one client, at a mean rate. Defaults are those of the reference.

    Examples
    --------
    >>> Workload(rate="600/min", num_requests=50).rate
    10.0
    """

    rate: Rate = setting(
        default=1.0, help="Mean number of requests per second.", unit="1/s", gt=0, dimension="rate", flag="--rate"
    )
    num_requests: int = setting(
        default=100,
        help="Number of requests; 0 means as many as arrive before the horizon.",
        unit="requests",
        ge=0,
        flag="--num-requests",
    )
    arrivals: Accepts[Plugin, Arrivals] = setting(
        default="constant", help="Arrival process: distribution of the gaps between requests.", kind="arrivals"
    )
    prompt: Accepts[LengthSampler, Lengths] = setting(
        default=_REFERENCE_LENGTHS,
        help="Distribution of the prompt lengths.",
        kind="lengths",
        built=True,
        flag="--prompt-tokens",
    )
    output: Accepts[LengthSampler, Lengths] = setting(
        default=_REFERENCE_LENGTHS,
        help="Distribution of the output lengths.",
        kind="lengths",
        built=True,
        flag="--output-tokens",
    )
    prefix_tokens: int = setting(
        default=0,
        help="Length of a prefix that all prompts share, added to the prompt length.",
        unit="tokens",
        ge=0,
        flag="--prefix-tokens",
    )
    preset: str | None = setting(
        default=None, help="Preset of the defaults file, whose lengths and prefix replace those given here."
    )

    @classmethod
    def single(
        cls, *, rate: float | str = 1.0, prompt: Plugin = None, output: Plugin = None, **others: Any
    ) -> Workload:
        """Traffic of one client.

        Parameters
        ----------
        rate : float or str
            Requests per second, or text such as ``600/min``.
        prompt, output : length distribution, int or None
            Distribution of the lengths, or the length of all requests in tokens; None means the default.
        **others
            Further fields of `Workload`.
        """
        for name, law in (("prompt", prompt), ("output", output)):
            if law is not None:
                others[name] = Constant(law) if isinstance(law, int) and not isinstance(law, bool) else law
        return cls(rate=rate, **others)

    def preview(self, *, seed: int = 42, horizon: int | None = None, defaults: str | None = None) -> Preview:
        """Draw one sample of the requests, without simulating them.

        Parameters
        ----------
        seed : int
            Seed of the sample; a scenario with the same one has the same requests.
        horizon : int, ticks, optional
            Requests arrive strictly before it.
        defaults : str, optional
            Defaults file that a preset comes from; the shipped one unless given.

        Returns
        -------
        Preview
            Rate over time and lengths; prints itself.

        Raises
        ------
        ScenarioError
            If neither the number of requests nor the horizon is limited, or there is no such preset.
        """
        from blis_simpy.workload.preview import preview_workload

        return preview_workload(self, seed, horizon, defaults)
