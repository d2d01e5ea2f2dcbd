"""Simulate LLM inference serving with SimPy: exact, fast, without a GPU.

Reading order: `scenario_settings` (what can be described), `simulation` (how it is wired), `replica.replica` and
`replica.engine` (what happens), `results.result` (what comes out).

PYTEST_DONT_REWRITE: pytest warns otherwise if the package is imported before it starts, as in a notebook.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blis_simpy.calibration.calibrate import Calibration, calibrate
    from blis_simpy.calibration.fitted import Fit
    from blis_simpy.cluster.admission import AlwaysAdmit, RejectAll, TokenBucket
    from blis_simpy.cluster.policies import AdmissionDecision, PolicyContext, RouterState, RoutingDecision, Snapshot
    from blis_simpy.cluster.routing import AlwaysBusiest, LeastLoaded, RoundRobin, Weighted
    from blis_simpy.cluster.settings import (
        AdmissionSettings,
        LifecycleSettings,
        NodePool,
        ReplicaGroup,
        RouterSettings,
    )
    from blis_simpy.core.call_graph import Call, CallGraph
    from blis_simpy.core.observers import Observer
    from blis_simpy.core.request import Leg, Request, RequestOutcome
    from blis_simpy.core.slo_targets import QoETarget, SLOTargets
    from blis_simpy.core.token_spans import Span
    from blis_simpy.errors import (
        BlisError,
        CalibrationError,
        PluginError,
        Problem,
        ScenarioError,
        SimulationError,
        WorkloadTraceError,
    )
    from blis_simpy.experiment.capacity import Capacity, capacity
    from blis_simpy.experiment.comparison import Comparison, compare
    from blis_simpy.experiment.design_points import Range
    from blis_simpy.experiment.fit import fit
    from blis_simpy.experiment.replications import Replications, replicate
    from blis_simpy.experiment.sweep import Sweep, sweep
    from blis_simpy.experiment.warm_up import batch_means
    from blis_simpy.latency.settings import LatencySettings
    from blis_simpy.load_files import load_result, load_scenario, scenario_schema
    from blis_simpy.network.settings import NetworkSettings, PoolNetwork
    from blis_simpy.realserver.observe import observe, observe_async
    from blis_simpy.realserver.recording import Recording
    from blis_simpy.realserver.settings import ObserveSettings
    from blis_simpy.recorded_workloads import RequestWorkload, TraceWorkload
    from blis_simpy.replica.settings import EngineSettings, KVSettings
    from blis_simpy.replica.tier_settings import KVTierSettings
    from blis_simpy.results.metrics import metrics
    from blis_simpy.results.result import Result
    from blis_simpy.scenario import Scenario
    from blis_simpy.session_workload import SessionWorkload
    from blis_simpy.simulation import Simulation, replay
    from blis_simpy.trace_files.importers.own_sessions import write_sessions
    from blis_simpy.trace_files.load_trace import load_trace
    from blis_simpy.trace_files.trace import Trace
    from blis_simpy.trace_files.trace_v2 import write_trace
    from blis_simpy.units import HOUR, MICROSECOND, MINUTE, MS, SECOND
    from blis_simpy.workload.agent_sessions import AgentSessions
    from blis_simpy.workload.arrivals import ConstantArrivals, GammaArrivals, PoissonArrivals, WeibullArrivals
    from blis_simpy.workload.lengths import (
        Constant,
        Empirical,
        Exponential,
        Gaussian,
        Lognormal,
        ParetoLognormal,
        Uniform,
    )
    from blis_simpy.workload.load_workload import load_workload, workload_schema
    from blis_simpy.workload.settings import Workload
    from blis_simpy.workload.spec.arrival import Arrival
    from blis_simpy.workload.spec.client import (
        ActivityWindows,
        Client,
        Daily,
        Multimodal,
        MultiTurn,
        RatePoint,
        Reasoning,
        Window,
    )
    from blis_simpy.workload.spec.cohort import Cohort, Diurnal, Drain, Spike
    from blis_simpy.workload.spec.length_distribution import LengthDistribution
    from blis_simpy.workload.spec.user_profile import UserStage
    from blis_simpy.workload.traffic import Traffic
    from blis_simpy.workload.users import UserWorkload
    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = [
    "HOUR",
    "MICROSECOND",
    "MINUTE",
    "MS",
    "SECOND",
    "ActivityWindows",
    "AdmissionDecision",
    "AdmissionSettings",
    "AgentSessions",
    "AlwaysAdmit",
    "AlwaysBusiest",
    "Arrival",
    "BlisError",
    "Calibration",
    "CalibrationError",
    "Call",
    "CallGraph",
    "Capacity",
    "Client",
    "Cohort",
    "Comparison",
    "Constant",
    "ConstantArrivals",
    "Daily",
    "Diurnal",
    "Drain",
    "Empirical",
    "EngineSettings",
    "Exponential",
    "Fit",
    "GammaArrivals",
    "Gaussian",
    "KVSettings",
    "KVTierSettings",
    "LatencySettings",
    "LeastLoaded",
    "Leg",
    "LengthDistribution",
    "LifecycleSettings",
    "Lognormal",
    "MultiTurn",
    "Multimodal",
    "NetworkSettings",
    "NodePool",
    "ObserveSettings",
    "Observer",
    "ParetoLognormal",
    "PluginError",
    "PoissonArrivals",
    "PolicyContext",
    "PoolNetwork",
    "Problem",
    "QoETarget",
    "Range",
    "RatePoint",
    "Reasoning",
    "Recording",
    "RejectAll",
    "ReplicaGroup",
    "Replications",
    "Request",
    "RequestOutcome",
    "RequestWorkload",
    "Result",
    "RoundRobin",
    "RouterSettings",
    "RouterState",
    "RoutingDecision",
    "SLOTargets",
    "Scenario",
    "ScenarioError",
    "SessionWorkload",
    "Simulation",
    "SimulationError",
    "Snapshot",
    "Span",
    "Spike",
    "Sweep",
    "TokenBucket",
    "Trace",
    "TraceWorkload",
    "Traffic",
    "Uniform",
    "UserStage",
    "UserWorkload",
    "WeibullArrivals",
    "Weighted",
    "Window",
    "Workload",
    "WorkloadSpec",
    "WorkloadTraceError",
    "batch_means",
    "calibrate",
    "capacity",
    "compare",
    "fit",
    "load_result",
    "load_scenario",
    "load_trace",
    "load_workload",
    "metrics",
    "observe",
    "observe_async",
    "replay",
    "replicate",
    "scenario_schema",
    "sweep",
    "workload_schema",
    "write_sessions",
    "write_trace",
]

# Public names are loaded when they are first asked for: a command that needs few of them starts faster.
_MODULES = {
    "blis_simpy.calibration.calibrate": ("Calibration", "calibrate"),
    "blis_simpy.experiment.fit": ("fit",),
    "blis_simpy.calibration.fitted": ("Fit",),
    "blis_simpy.cluster.admission": ("AlwaysAdmit", "RejectAll", "TokenBucket"),
    "blis_simpy.cluster.policies": ("AdmissionDecision", "PolicyContext", "RouterState", "RoutingDecision", "Snapshot"),
    "blis_simpy.cluster.routing": ("AlwaysBusiest", "LeastLoaded", "RoundRobin", "Weighted"),
    "blis_simpy.cluster.settings": (
        "AdmissionSettings",
        "LifecycleSettings",
        "NodePool",
        "ReplicaGroup",
        "RouterSettings",
    ),
    "blis_simpy.core.token_spans": ("Span",),
    "blis_simpy.core.call_graph": ("Call", "CallGraph"),
    "blis_simpy.core.observers": ("Observer",),
    "blis_simpy.core.slo_targets": ("QoETarget", "SLOTargets"),
    "blis_simpy.core.request": ("Leg", "RequestOutcome", "Request"),
    "blis_simpy.errors": (
        "BlisError",
        "CalibrationError",
        "PluginError",
        "Problem",
        "ScenarioError",
        "SimulationError",
        "WorkloadTraceError",
    ),
    "blis_simpy.experiment.capacity": ("Capacity", "capacity"),
    "blis_simpy.experiment.comparison": ("Comparison", "compare"),
    "blis_simpy.experiment.design_points": ("Range",),
    "blis_simpy.experiment.replications": ("Replications", "replicate"),
    "blis_simpy.experiment.sweep": ("Sweep", "sweep"),
    "blis_simpy.experiment.warm_up": ("batch_means",),
    "blis_simpy.trace_files.importers.own_sessions": ("write_sessions",),
    "blis_simpy.trace_files.load_trace": ("load_trace",),
    "blis_simpy.trace_files.trace": ("Trace",),
    "blis_simpy.trace_files.trace_v2": ("write_trace",),
    "blis_simpy.latency.settings": ("LatencySettings",),
    "blis_simpy.realserver.observe": ("observe", "observe_async"),
    "blis_simpy.realserver.recording": ("Recording",),
    "blis_simpy.realserver.settings": ("ObserveSettings",),
    "blis_simpy.recorded_workloads": ("RequestWorkload", "TraceWorkload"),
    "blis_simpy.network.settings": ("NetworkSettings", "PoolNetwork"),
    "blis_simpy.replica.settings": ("EngineSettings", "KVSettings"),
    "blis_simpy.replica.tier_settings": ("KVTierSettings",),
    "blis_simpy.results.metrics": ("metrics",),
    "blis_simpy.results.result": ("Result",),
    "blis_simpy.load_files": ("load_result", "load_scenario", "scenario_schema"),
    "blis_simpy.scenario": ("Scenario",),
    "blis_simpy.session_workload": ("SessionWorkload",),
    "blis_simpy.simulation": ("Simulation", "replay"),
    "blis_simpy.units": ("HOUR", "MICROSECOND", "MINUTE", "MS", "SECOND"),
    "blis_simpy.workload.agent_sessions": ("AgentSessions",),
    "blis_simpy.workload.arrivals": ("ConstantArrivals", "GammaArrivals", "PoissonArrivals", "WeibullArrivals"),
    "blis_simpy.workload.lengths": (
        "Constant",
        "Empirical",
        "Exponential",
        "Gaussian",
        "Lognormal",
        "ParetoLognormal",
        "Uniform",
    ),
    "blis_simpy.workload.load_workload": ("load_workload", "workload_schema"),
    "blis_simpy.workload.settings": ("Workload",),
    "blis_simpy.workload.spec.arrival": ("Arrival",),
    "blis_simpy.workload.spec.client": (
        "ActivityWindows",
        "Client",
        "Daily",
        "MultiTurn",
        "Multimodal",
        "RatePoint",
        "Reasoning",
        "Window",
    ),
    "blis_simpy.workload.spec.cohort": ("Cohort", "Diurnal", "Drain", "Spike"),
    "blis_simpy.workload.spec.length_distribution": ("LengthDistribution",),
    "blis_simpy.workload.spec.user_profile": ("UserStage",),
    "blis_simpy.workload.traffic": ("Traffic",),
    "blis_simpy.workload.users": ("UserWorkload",),
    "blis_simpy.workload.workload_spec": ("WorkloadSpec",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("blis-simpy")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})
