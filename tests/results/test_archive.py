import numpy as np
import pytest

import blis_simpy as blis


def equal(one, other):
    """Whether two results are the same in everything they have to say."""
    assert list(one.requests.rows()) == list(other.requests.rows())
    assert list(one.steps.rows()) == list(other.steps.rows())
    assert one.scenario == other.scenario
    assert one.summary == other.summary
    assert one.replicas == other.replicas
    assert one.preemptions == other.preemptions
    assert one.rejected == other.rejected
    assert one.anomalies == other.anomalies
    assert one.kv_rates == other.kv_rates
    assert (one.decisions is None) == (other.decisions is None)
    if one.decisions is not None:
        assert one.decisions.routings == other.decisions.routings
        assert one.decisions.admissions == other.decisions.admissions
    assert one.where(replica=0).summary == pytest.approx(other.where(replica=0).summary, nan_ok=True)
    return True


@pytest.fixture(params=["prefix-affinity", "kv-pressure", "images", "token-bucket"])
def result(request):
    changes = {"router.decision_log": True, "router.decision_alternatives": 2, "horizon": "2s"}
    return blis.load_scenario(request.param).with_(**changes).run()


def test_loaded_result_says_the_same(result, tmp_path):
    result.save(tmp_path / "run.blis")
    assert equal(blis.load_result(tmp_path / "run.blis"), result)


def test_saved_bytes_depend_on_nothing_but_the_run(tmp_path):
    scenario = blis.load_scenario("quickstart").with_(**{"workload.num_requests": 50})
    for name in ("one", "two"):
        scenario.run().save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_loaded_result_writes_the_same_files(result, tmp_path):
    result.save(tmp_path / "run.blis")
    loaded = blis.load_result(tmp_path / "run.blis")
    for name, of in (("a", result), ("b", loaded)):
        of.write_trace(tmp_path / name)
        of.write_metrics(tmp_path / f"{name}.json")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"model: x\n"])
def test_what_is_no_result_is_refused(content, tmp_path):
    (tmp_path / "x.blis").write_bytes(content)
    with pytest.raises(blis.ScenarioError, match=r"x\.blis: is no archive of ours"):
        blis.load_result(tmp_path / "x.blis")


def test_missing_file_and_foreign_archive_are_refused(tmp_path):
    with pytest.raises(blis.ScenarioError, match=r"cannot be read: No such file"):
        blis.load_result(tmp_path / "none.blis")
    np.savez(tmp_path / "foreign.npz", a=np.arange(3))
    with pytest.raises(blis.ScenarioError, match="does not have the checksum that it was written with"):
        blis.load_result(tmp_path / "foreign.npz")
