"""Simulate LLM inference serving with SimPy: exact, fast, without a GPU.

Reading order: `scenario` (what can be said), `simulation` (how it is wired), `replica.replica` and `replica.engine`
(what happens), `result` (what comes out).
"""

from blis_simpy.cluster.policies import AdmissionDecision, PolicyContext, RoutingDecision
from blis_simpy.cluster.settings import LifecycleSettings, NodePool, ReplicaGroup
from blis_simpy.core.content import Span
from blis_simpy.core.request import Outcome, Request
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
from blis_simpy.workload.client import Arrival, Client, MultiTurn, Reasoning
from blis_simpy.workload.distribution import Distribution
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian
from blis_simpy.workload.reading import load_workload
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.spec import WorkloadSpec

__all__ = [
    "HOUR",
    "MICROSECOND",
    "MINUTE",
    "MS",
    "SECOND",
    "AdmissionDecision",
    "Arrival",
    "BlisError",
    "CalibrationError",
    "Client",
    "Constant",
    "Distribution",
    "EngineSettings",
    "Exponential",
    "Gaussian",
    "KVSettings",
    "LatencySettings",
    "LifecycleSettings",
    "MultiTurn",
    "NodePool",
    "Outcome",
    "PluginError",
    "PolicyContext",
    "Problem",
    "Reasoning",
    "ReplicaGroup",
    "Request",
    "Result",
    "RoutingDecision",
    "Scenario",
    "ScenarioError",
    "Simulation",
    "SimulationError",
    "Span",
    "Workload",
    "WorkloadSpec",
    "WorkloadTraceError",
    "load_scenario",
    "load_workload",
    "replay",
]
