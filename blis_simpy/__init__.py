"""Simulate LLM inference serving with SimPy: exact, fast, without a GPU.

Reading order: `scenario` (what can be said), `simulation` (how it is wired), `replica.replica` and `replica.engine`
(what happens), `result` (what comes out).
"""

from blis_simpy.errors import (
    BlisError,
    CalibrationError,
    PluginError,
    Problem,
    ScenarioError,
    SimulationError,
    WorkloadTraceError,
)
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.result import Result
from blis_simpy.scenario import Scenario, load_scenario
from blis_simpy.simulation import Simulation, replay
from blis_simpy.units import HOUR, MICROSECOND, MINUTE, MS, SECOND
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian
from blis_simpy.workload.settings import Workload

__all__ = [
    "HOUR",
    "MICROSECOND",
    "MINUTE",
    "MS",
    "SECOND",
    "BlisError",
    "CalibrationError",
    "Constant",
    "EngineSettings",
    "Exponential",
    "Gaussian",
    "KVSettings",
    "LatencySettings",
    "PluginError",
    "Problem",
    "Result",
    "Scenario",
    "ScenarioError",
    "Simulation",
    "SimulationError",
    "Workload",
    "WorkloadTraceError",
    "load_scenario",
    "replay",
]
