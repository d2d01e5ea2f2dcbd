"""Traffic of a scenario, as one stream of independent requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.settings.field_types import Plugin, Rate
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.workload.lengths import LengthSampler
    from blis_simpy.workload.preview import Preview

__all__ = ["Traffic", "Workload"]


def _reference_lengths() -> LengthSampler:
    from blis_simpy.workload.lengths import Gaussian  # imports numpy, which a command line's --help need not load

    return Gaussian(512, 256, 2, 7000)


class Traffic:
    """What a scenario may have as its workload: a `Workload`, or a `WorkloadSpec` from a module of its own."""

    __slots__ = ()

    @property
    def ends_at(self) -> int | None:
        """End of simulated time that the traffic itself sets, tick; None if it sets none."""
        return None


@settings_class
class Workload(Traffic):
    """Requests at a rate, with prompt and output lengths of their own. Defaults are those of the reference.

    Examples
    --------
    >>> Workload(rate="600/min", num_requests=50).rate
    10.0
    """

    rate: Rate = setting(default=1.0, help="Requests per second.", unit="1/s", gt=0, dimension="rate", flag="--rate")
    num_requests: int = setting(
        default=100,
        help="Number of requests; 0 means as many as arrive before the horizon.",
        unit="requests",
        ge=0,
        flag="--num-requests",
    )
    arrivals: Plugin = setting(default="constant", help="Law of the gaps between requests.", kind="arrivals")
    prompt: Plugin = setting(
        factory=_reference_lengths,
        help="Law of the prompt lengths.",
        kind="lengths",
        built=True,
        flag="--prompt-tokens",
    )
    output: Plugin = setting(
        factory=_reference_lengths,
        help="Law of the output lengths.",
        kind="lengths",
        built=True,
        flag="--output-tokens",
    )
    prefix_tokens: int = setting(
        default=0,
        help="Length of a prefix that all prompts share, in addition to their own length.",
        unit="tokens",
        ge=0,
        flag="--prefix-tokens",
    )
    preset: str | None = setting(
        default=None, help="Named workload of the defaults file; its lengths and prefix replace those given here."
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
            Law of the lengths, or the one length of all requests in tokens; None takes the default.
        **others
            Further fields of `Workload`.
        """
        from blis_simpy.workload.lengths import Constant

        for name, law in (("prompt", prompt), ("output", output)):
            if law is not None:
                others[name] = Constant(law) if isinstance(law, int) and not isinstance(law, bool) else law
        return cls(rate=rate, **others)

    def preview(self, *, seed: int = 42, horizon: int | None = None, defaults: str | None = None) -> Preview:
        """Draw one sample to look at; nothing is served.

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
