"""Tests of plug-ins, and of hypotheses about policies.

**Conformance suites** test the rules of a kind of plug-in. Subclass the suite of the kind::

    from blis_simpy.testing import RoutingPolicyTests

    class TestMyRouter(RoutingPolicyTests):
        def make(self):
            return MyRouter()

**`assert_slo`** asserts that a run meets its SLO targets.

**Policy experiments** test the effect of a policy. `pytest_plugin` provides fixtures, `policy_experiment` runs the
experiments, `hypotheses` defines and evaluates the assertions, `messages` formats the outcome.

pytest loads the plug-in in every run where the library is installed; all other modules are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blis_simpy.testing.conformance.admission_tests import AdmissionPolicyTests
    from blis_simpy.testing.conformance.arrival_tests import ArrivalProcessTests
    from blis_simpy.testing.conformance.batch_policy_tests import BatchPolicyTests
    from blis_simpy.testing.conformance.decider_tests import DeciderTests
    from blis_simpy.testing.conformance.kv_store_tests import KVStoreTests
    from blis_simpy.testing.conformance.latency_tests import LatencyModelTests
    from blis_simpy.testing.conformance.length_tests import LengthDistributionTests
    from blis_simpy.testing.conformance.metric_tests import MetricTests
    from blis_simpy.testing.conformance.migration_tests import MigrationPolicyTests
    from blis_simpy.testing.conformance.routing_tests import RoutingPolicyTests
    from blis_simpy.testing.conformance.scheduler_tests import PriorityPolicyTests, SchedulerTests
    from blis_simpy.testing.conformance.scorer_tests import ScorerTests
    from blis_simpy.testing.conformance.trace_format_tests import BrokenFile, TraceFormatTests
    from blis_simpy.testing.slo_assertion import assert_slo

__all__ = [
    "AdmissionPolicyTests",
    "ArrivalProcessTests",
    "BatchPolicyTests",
    "BrokenFile",
    "DeciderTests",
    "KVStoreTests",
    "LatencyModelTests",
    "LengthDistributionTests",
    "MetricTests",
    "MigrationPolicyTests",
    "PriorityPolicyTests",
    "RoutingPolicyTests",
    "SchedulerTests",
    "ScorerTests",
    "TraceFormatTests",
    "assert_slo",
]

_MODULES = {
    "AdmissionPolicyTests": "conformance.admission_tests",
    "ArrivalProcessTests": "conformance.arrival_tests",
    "BatchPolicyTests": "conformance.batch_policy_tests",
    "BrokenFile": "conformance.trace_format_tests",
    "DeciderTests": "conformance.decider_tests",
    "KVStoreTests": "conformance.kv_store_tests",
    "LatencyModelTests": "conformance.latency_tests",
    "LengthDistributionTests": "conformance.length_tests",
    "MetricTests": "conformance.metric_tests",
    "MigrationPolicyTests": "conformance.migration_tests",
    "PriorityPolicyTests": "conformance.scheduler_tests",
    "RoutingPolicyTests": "conformance.routing_tests",
    "SchedulerTests": "conformance.scheduler_tests",
    "ScorerTests": "conformance.scorer_tests",
    "TraceFormatTests": "conformance.trace_format_tests",
    "assert_slo": "slo_assertion",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"blis_simpy.testing.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
