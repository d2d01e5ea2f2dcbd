"""The reference's flags for options of policies, translated into settings.

The reference has one flag for each option, independent of the policy; here an option belongs to its policy. So a flag
of an option that the chosen policy does not have is ignored, with a warning.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from blis_simpy.cli.flags import Flag, flags_of
from blis_simpy.cluster.admission import TokenBucket
from blis_simpy.cluster.routing import Weighted
from blis_simpy.settings.plugin_options import options_of_spec, plugin_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["POLICY_FLAGS", "effective_changes"]

_log = logging.getLogger("blis_simpy")

_OPTION_FLAGS = (*flags_of(TokenBucket, "admission."), *flags_of(Weighted, "router."))
_KINDS = {"admission": "admission", "router": "routing"}
"""Kind of the policy in each section of a scenario."""

POLICY_FLAGS = (
    *_OPTION_FLAGS,
    Flag(
        name="--trace-level",
        target="router.decision_log",
        choices=("none", "decisions"),
        values={"none": False, "decisions": True},
        help="Decisions to log: none, or decisions, which means all of admission and routing.",
        default="none",
        absent="",
    ),
)
"""Flags of options of policies, and those whose values the reference spells in another way."""


def effective_changes(base: ScenarioSettings, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out options that the policies of a scenario do not have, with a warning.

    Parameters
    ----------
    base : ScenarioSettings
        What the changes are laid over.
    changes : mapping of str to object
        Values by dotted path, those of flags or of a policy bundle.
    """
    effective = dict(changes)
    for flag in _OPTION_FLAGS:
        if flag.target not in effective:
            continue
        section, _, option = flag.target.partition(".")
        policy = changes.get(f"{section}.policy", getattr(base, section).policy)
        known = options_of_spec(_KINDS[section], policy)
        if known is not None and option not in known:
            del effective[flag.target]
            _log.warning(
                "%s has no effect: the %s policy %r has no option %s",
                flag.name,
                _KINDS[section],
                plugin_label(policy),
                option,
            )
    return effective
