"""Rules for groups of replicas with the roles prefill and decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blis_simpy.replica.replica import Replica

__all__ = ["RoleHolder", "check_roles"]


class RoleHolder(Protocol):
    """The attributes of a group of replicas that matter for its role."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> str: ...  # noqa: D102
    @property
    def num_gpus(self) -> int: ...  # noqa: D102
    @property
    def kv_bytes_per_token(self) -> Callable[[], float | None]: ...  # noqa: D102


def check_roles(groups: Sequence[RoleHolder], replicas: Sequence[Replica]) -> None:
    """Check that each prefill group has a group that decodes, and the other way round, and that they fit together.

    Parameters
    ----------
    groups : sequence of RoleHolder
        All groups of the scenario.
    replicas : sequence of Replica
        A replica of each group.

    Raises
    ------
    ScenarioError
        With one problem for each group that has no partner or does not fit.
    """
    problems = [
        problem
        for index, group in enumerate(groups)
        if group.role != "both"
        for problem in _problems(index, groups, replicas)
    ]
    if problems:
        raise ScenarioError(dict.fromkeys(problems))


def _problems(index: int, groups: Sequence[RoleHolder], replicas: Sequence[Replica]) -> Iterator[Problem]:
    group = groups[index]
    other = "decode" if group.role == "prefill" else "prefill"
    partners = [
        number
        for number, partner in enumerate(groups)
        if partner.role in (other, "both") and partner.model.lower() == group.model.lower()
    ]
    if not partners:
        models = {partner.model for partner in groups if partner.role in (other, "both")}
        hint = f"those groups serve {', '.join(sorted(models))}" if models else ""
        rule = f"needs a group of the role {other} or both with the model {group.model}"
        yield Problem(path=f"groups[{index}].role", rule=rule, value=group.role, hint=hint)
    for number in (index, *partners):
        yield from _unsupported(number, groups[number], replicas[number])
    for number in partners:
        partner = groups[number]
        more, fewer = max(group.num_gpus, partner.num_gpus), min(group.num_gpus, partner.num_gpus)
        if more % fewer:
            rule = f"must be a multiple or a divisor of the {partner.num_gpus} GPUs of groups[{number}]: their KV "
            yield Problem(path=f"groups[{index}].tp", rule=f"{rule}heads are divided differently", value=group.num_gpus)
        if replicas[index].block_size != replicas[number].block_size:
            rule = (
                f"must be that of groups[{number}] ({replicas[number].block_size}), which it exchanges KV blocks with"
            )
            yield Problem(path=f"groups[{index}].kv.block_size", rule=rule, value=replicas[index].block_size)


def _unsupported(number: int, group: RoleHolder, replica: Replica) -> Iterator[Problem]:
    if replica.settings.step_effects != "end":
        rule = "must be end in a group that hands over requests; the engine profile vllm has it, blis has not"
        yield Problem(path=f"groups[{number}].engine.step_effects", rule=rule, value=replica.settings.step_effects)
    if replica.settings.resume != "recompute":
        rule = "must be recompute in a group that hands over requests; the engine profile vllm has it, blis has not"
        yield Problem(path=f"groups[{number}].engine.resume", rule=rule, value=replica.settings.resume)
    if not replica.receives_blocks:
        rule = "cannot exchange KV blocks with other replicas; block-pool and single-tier can"
        yield Problem(path=f"groups[{number}].kv.store", rule=rule, value=type(replica.kv_store).__name__)
    if group.kv_bytes_per_token() is None:
        hint = "set disaggregation.kv_bytes_per_token"
        rule = "must be known to compute the size of the KV cache of a token"
        yield Problem(path=f"groups[{number}].model_config", rule=rule, hint=hint)
