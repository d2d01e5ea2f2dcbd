"""A metric, a renderer and a plot of a foreign distribution."""

from blis_simpy.display.pages import describe
from blis_simpy.display.text_table import TextTable
from blis_simpy.results.metrics import Metric

PROMPT_TOKENS = Metric(
    name="prompt_tokens",
    label="prompt tokens",
    unit="tokens",
    direction=None,
    definition="Tokens of all prompts.",
    function=lambda subset: subset.requests["input_tokens"].sum(),
)


def markdown(thing):
    """Render tables of lines and columns, and nothing else."""
    lines = []
    for part in describe(thing):
        if isinstance(part, TextTable):
            rows = [[column.show(value) for column, value in zip(part.columns, row, strict=True)] for row in part.rows]
            lines += ["|".join(cells) for cells in [[column.heading for column in part.columns], *rows]]
        else:
            lines.append("".join(part))
    return "\n".join(lines)


def finished(result, scale=1):
    """Return what would be drawn."""
    return (result.requests["finished_at_us"] * scale).tolist()
