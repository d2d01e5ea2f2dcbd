"""Settings of the client of a real server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.field_types import Duration
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.units import SECOND

__all__ = ["ObserveSettings"]

_RESERVED = frozenset({"model", "prompt", "messages", "stream", "stream_options"})


@settings_class
class ObserveSettings:
    """Address and API of a real server, contents of the requests, and limits of the client.

    Raises
    ------
    ScenarioError
        If the URL is not a plain HTTP address, the key cannot be sent, or the extra body would replace a part of the
        request.
    """

    url: str = setting(help="Address of the server, e.g. http://localhost:8000.", flag="--server-url")
    model: str = setting(help="Model of requests whose client names none.", flag="--model")
    api_format: str = setting(
        default="completions",
        help="API of the server.",
        choices=("completions", "chat"),
        flag="--api-format",
    )
    streaming: str = setting(
        default="always",
        help="Whether responses are streamed; by-client means as the clients of the specification.",
        choices=("always", "never", "by-client"),
        flag="--streaming",
    )
    unconstrained_output: bool = setting(
        default=False, help="Let the model end its outputs.", flag="--unconstrained-output"
    )
    max_concurrency: int = setting(
        default=256, help="Maximum number of concurrent requests.", gt=0, flag="--max-concurrency"
    )
    warmup_requests: int = setting(
        default=0, help="Number of first requests that are sent but not recorded.", ge=0, flag="--warmup-requests"
    )
    timeout: Duration = setting(
        default=300 * SECOND,
        help="Timeout of one response.",
        unit="us",
        gt=0,
        dimension="duration",
        flag="--timeout",
    )
    api_key: str = setting(default="", help="API key, sent as a bearer token.", flag="--api-key")
    extra_body: Mapping[str, Any] = setting(
        factory=dict, help="Additional keys of the body of every request, e.g. ignore_eos, temperature."
    )
    distinct_prompts: bool = setting(
        default=False,
        help="Fill each prompt with different words, so that a prefix cache does not match them.",
        flag="--distinct-prompts",
    )
    server_type: str = setting(default="vllm", help="Kind of server; recorded only.", flag="--server-type")
    rtt_ms: float = setting(
        default=0.0, help="Round-trip time to the server; recorded only.", unit="ms", ge=0, flag="--rtt-ms"
    )

    def __attrs_post_init__(self) -> None:
        problems: list[Problem] = []
        if not self.url.startswith(("http://", "https://")) or not self.base_url.partition("://")[2]:
            problems.append(Problem(path="url", rule="must begin with http:// or https://", value=self.shown_url))
        if "?" in self.url or "#" in self.url:
            problems.append(Problem(path="url", rule="must not have a query or a fragment", value=self.shown_url))
        if not self.model:
            problems.append(Problem(path="model", rule="must not be empty"))
        if not (self.api_key.isascii() and (self.api_key.isprintable() and " " not in self.api_key)):
            problems.append(Problem(path="api_key", rule="must be printable ASCII without blanks"))
        problems += [
            Problem(path=f"extra_body.{name}", rule="is set by the client itself")
            for name in sorted(_RESERVED & set(self.extra_body))
        ]
        if problems:
            raise ScenarioError(problems)

    @property
    def shown_url(self) -> str:
        """The address without the name and the password that it may have."""
        return re.sub("[^/]*@", "", self.url)

    @property
    def base_url(self) -> str:
        """The address without ``/v1`` and slashes at the end."""
        return self.url.rstrip("/").removesuffix("/v1").rstrip("/")
