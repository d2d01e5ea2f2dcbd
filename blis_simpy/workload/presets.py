"""Named workloads of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.settings.fields import evolved
from blis_simpy.workload.lengths import Gaussian

if TYPE_CHECKING:
    from blis_simpy.workload.settings import Workload

__all__ = ["with_preset"]


def with_preset(workload: Workload, defaults: str | None = None) -> Workload:
    """Replace lengths and prefix of a workload that names a preset by those of the preset.

    Parameters
    ----------
    workload : Workload
        Any workload; returned as it is without a preset.
    defaults : str, optional
        Defaults file; the shipped one unless given.

    Raises
    ------
    ScenarioError
        If there is no such preset.
    """
    if workload.preset is None:
        return workload
    preset = Catalog.load(defaults).preset(workload.preset)
    return evolved(
        workload,
        preset=None,
        prompt=Gaussian(
            preset.prompt_tokens, preset.prompt_tokens_stdev, preset.prompt_tokens_min, preset.prompt_tokens_max
        ),
        output=Gaussian(
            preset.output_tokens, preset.output_tokens_stdev, preset.output_tokens_min, preset.output_tokens_max
        ),
        prefix_tokens=preset.prefix_tokens,
    )
