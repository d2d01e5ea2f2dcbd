"""A scenario that runs: the settings of a deployment and its traffic, with the methods that simulate them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.scenario_settings import ScenarioSettings
from blis_simpy.settings.parameter_docs import documented
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from blis_simpy.deployment import ResolvedDeployment
    from blis_simpy.results.result import Result
    from blis_simpy.simulation import Progress
    from blis_simpy.workload.preview import Preview

__all__ = ["Scenario"]

_log = logging.getLogger(__name__)


@documented
class Scenario(ScenarioSettings):
    """Description of a serving deployment and its traffic.

    Examples
    --------
    >>> scenario = Scenario(model="qwen/qwen3-14b", hardware="H100", tp=1)
    >>> scenario.with_(tp=2, **{"engine.max_num_seqs": 8}).engine.max_num_seqs
    8
    """

    __slots__ = ()

    def resolve(self) -> ResolvedDeployment:
        """Resolve model, GPU, latency model and KV capacity of a replica, without simulating it.

        Returns
        -------
        ResolvedDeployment
            Latency model, KV capacity and so on; ``settings`` has the origin of each value.

        Raises
        ------
        ScenarioError
            If a value is missing or contradictory, or the model does not fit the GPUs.
        """
        from blis_simpy.deployment import resolve

        return resolve(self)

    def preview(self, *, seed: int | None = None) -> Preview:
        """Draw the traffic that a run of the scenario simulates; nothing is served.

        Parameters
        ----------
        seed : int, optional
            Seed in place of the scenario's, as for `run`.

        Raises
        ------
        ScenarioError
            If the scenario has no workload, or its workload cannot be generated.
        """
        traffic = self.traffic()
        if traffic is None:
            raise ScenarioError.at("workload", "must be given")
        seed = self.seed if seed is None else seed
        return traffic.preview(seed=seed, horizon=self.end, defaults=self.defaults)

    def run(
        self,
        *,
        seed: int | None = None,
        until: int | str | None = None,
        progress: Progress | None = None,
        check: str | None = None,
    ) -> Result:
        """Simulate the scenario.

        Parameters
        ----------
        seed : int, optional
            Seed of all random streams, in place of the scenario's.
        until, progress
            As for `blis_simpy.Simulation.run`.
        check : {"full"}, optional
            As for `blis_simpy.Simulation`.

        Raises
        ------
        ScenarioError
            If the scenario cannot be simulated.
        """
        # Imported here, because SimPy and numpy take three times as long to import as the settings.
        from blis_simpy.simulation import Simulation
        from blis_simpy.unused_settings import unused_settings

        for clause in unused_settings(self):
            _log.warning("%s", clause)
        simulation = Simulation(self, seed=seed, check=check)
        if self.slo and not self.processes:  # which may submit requests of any class
            from blis_simpy.results.run_judgements import check_slo_classes

            check_slo_classes(self, simulation.requests.column("slo_class").tolist())
        result = simulation.run(until, progress=progress)
        # Often a number of seconds that was taken for µs.
        if (
            self.end is not None
            and simulation.is_over
            and not any(replica.completed for replica in result.record.replicas)
        ):
            _log.warning("no request completes up to the horizon, %s", format_ticks(self.end))
        return result
