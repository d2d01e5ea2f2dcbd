"""What every run warns of is said once."""

import logging

import pytest
from experiment_policies import share_of_first

import blis_simpy as blis
from blis_simpy.errors import PluginError

EXECUTORS = [{"executor": "serial"}, {"executor": "threads", "workers": 2}, {"workers": 2}]


def warn_twice(result):
    """Of a number that differs from run to run, and of nothing in particular; the second one only to see it."""
    log = logging.getLogger("blis_simpy.mine")
    log.warning("%.6f ms were needed", result.metric("e2e_mean_ms"))
    log.warning("%s", "that was it")
    log.info("no warning")
    return 0.0


@pytest.fixture
def with_vain_alternatives(small):
    return small.with_(replicas=2, router={"decision_alternatives": 1})


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("options", EXECUTORS)
def test_a_warning_of_every_run_is_logged_once_with_how_many_runs_it_is_of(
    with_vain_alternatives, caplog, capfd, options
):
    blis.replicate(with_vain_alternatives, 4, **options)
    (message,) = warned(caplog)
    assert message == (
        "router.decision_alternatives (--counterfactual-k) has no effect: it needs router.decision_log "
        "(--trace-level decisions) (in 4 runs)"
    )
    assert caplog.records[0].name == "blis_simpy.scenario"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("options", EXECUTORS)
def test_warnings_that_differ_in_a_value_are_counted_as_one(small, caplog, options):
    found = blis.replicate(small, 3, metrics={"mine": warn_twice}, **options)
    assert warned(caplog) == [
        f"{found.values('e2e_mean_ms')[0]:.6f} ms were needed (and 2 similar ones, in 3 runs)",
        "that was it (in 3 runs)",
    ]


def test_a_setting_that_another_scenario_of_the_experiment_needs_is_not_warned_of(small, caplog):
    """A loading delay of both is for one of them; a priority is only where it has no effect."""

    def add_one(simulation):
        yield simulation.env.timeout(1)
        simulation.cluster.add_replica()

    fixed = small.with_(**{"lifecycle.loading_delay": "1s"})
    scaled = fixed.with_(processes=[add_one])
    blis.compare({"fixed": fixed, "scaled": scaled}, replications=2, executor="serial")
    assert warned(caplog) == []
    aged = scaled.with_(**{"engine.priority": "slo-based"})
    blis.compare({"scaled": scaled, "aged": aged}, replications=2, executor="serial")
    (message,) = warned(caplog)
    assert message.startswith("engine.priority (--priority-policy) has no effect")


def test_a_warning_of_one_run_is_logged_as_it_is(small, caplog):
    blis.sweep(
        small.with_(replicas=2),
        {"router.decision_alternatives": [0, 1]},
        executor="serial",
    )
    assert warned(caplog)[0].endswith("it needs router.decision_log (--trace-level decisions)")


def test_an_experiment_in_several_parts_says_it_once(with_vain_alternatives, caplog):
    found = blis.capacity(
        with_vain_alternatives, {"ttft_p99_ms": 1000}, low=1, high=4, replications=2, executor="serial"
    )
    assert len(found.probes) > 2
    runs = len({(probe.value, seed) for probe in found.probes for seed in probe.replications.seeds})
    assert [text.rpartition(" (")[2] for text in warned(caplog)] == [f"in {runs} runs)"]


def test_other_records_are_shown_while_runs_are_made(small, caplog):
    def measured(result):
        logging.getLogger("elsewhere").warning("of another library")
        return share_of_first(result)

    with caplog.at_level(logging.INFO):
        blis.replicate(small, 2, metrics={"measured": measured, "mine": warn_twice}, executor="serial")
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("of another library") == 2
    assert texts.count("no warning") == 2


def test_what_was_warned_of_is_said_when_the_experiment_fails(with_vain_alternatives, caplog):
    def broken(result):
        raise ZeroDivisionError

    with pytest.raises(PluginError):
        blis.replicate(with_vain_alternatives, 2, metrics={"mine": broken}, executor="serial")
    blis.replicate(with_vain_alternatives, 1, executor="serial")
    assert len(warned(caplog)) == 1
