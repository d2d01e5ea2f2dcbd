"""Processes that a scenario adds to its simulation: failures, autoscalers, additional traffic, samplers.

A process is a callable with the simulation as its argument, called before the simulation runs. If it returns a
generator, that becomes a SimPy process. It may also return None, for instance if it only adds hooks::

    def grow(simulation):
        yield simulation.env.timeout(20 * blis.SECOND)
        simulation.cluster.add_replica()

Pass the function, a class, an instance or a registered name: ``Scenario(processes=[grow], ...)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy import registry
from blis_simpy.errors import BlisError, PluginError, ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalDuration
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event

    from blis_simpy.cluster.settings import Process

__all__ = ["Outage", "start_process"]


def start_process(simulation: Any, process: Process) -> Event | None:
    """Call a process with the simulation, and start the generator that it returns.

    The run may end while the generator goes on, unless it has submitted a request.

    Parameters
    ----------
    simulation : Simulation
        Simulation before its run.
    process : str, mapping or callable
        Process of a scenario. A class is instantiated with the options of the mapping.

    Returns
    -------
    simpy.Process or None
        The process of the generator, if there is one.

    Raises
    ------
    PluginError
        If the process is unknown, is not callable, raises an exception, or returns neither a generator nor None.
    """
    options = {key: option for key, option in process.items() if key != "type"} if isinstance(process, Mapping) else {}
    plugin = registry.plugin_of("process", process)
    if isinstance(plugin, type):
        plugin, options = registry.build("process", process), {}
    name = f"process {getattr(plugin, '__name__', type(plugin).__name__)}"
    if not callable(plugin):
        raise PluginError.at(name, "cannot be called with the simulation")
    try:
        steps = plugin(simulation, **options)
    except BlisError:
        raise
    except Exception as error:
        raise PluginError.at(name, f"raised {error!r}", code="process_raised") from error
    if inspect.isgenerator(steps):
        started: Event = simulation.env.process(steps)
        return started
    if steps is not None:
        raise PluginError.at(name, "must return a generator or nothing", steps)
    return None


@settings_class
class Outage:
    """Failure of one replica, restored after an optional duration (registered as ``outage``)."""

    start: Duration = setting(help="Time of the failure.", unit="ticks", ge=0, dimension="duration")
    duration: OptionalDuration = setting(
        default=None,
        help="Time until the replica is restored; unset means never.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    replica: int = setting(default=0, help="Index of the replica.", ge=0)

    def __call__(self, simulation: Any) -> Generator[Event, None, None]:
        """Fail the replica, and restore it."""
        yield simulation.env.timeout(self.start - simulation.env.now)
        num_replicas = len(simulation.replicas)
        if self.replica >= num_replicas:
            raise ScenarioError.at(
                "outage.replica", f"must be below {num_replicas}, the number of replicas", self.replica
            )
        simulation.cluster.fail(self.replica)
        if self.duration is not None:
            yield simulation.env.timeout(self.duration)
            simulation.cluster.restore(self.replica)
