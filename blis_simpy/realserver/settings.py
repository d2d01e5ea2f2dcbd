"""Settings of the client of a real server."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.files.text_files import read_text
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
    model: str = setting(help="Model of requests without a model in the workload.", flag="--model")
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
        default=False, help="Send no output limit, so that the model ends its outputs.", flag="--unconstrained-output"
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
    api_key: str = setting(
        default="",
        help="API key, sent as a bearer token; visible to other users of the machine in the list of processes.",
        flag="--api-key",
    )
    api_key_env: str = setting(default="", help="Environment variable that holds the API key.", flag="--api-key-env")
    api_key_file: str = setting(default="", help="File that holds the API key.", is_path=True, flag="--api-key-file")
    tokenizer: Any = setting(
        default=None, help="Callable that counts the tokens of responses without usage; returns tokens or their number."
    )
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
        elif not problems and (rule := _address_rule(self.url)):
            problems.append(Problem(path="url", rule=rule, value=self.shown_url))
        if not self.model:
            problems.append(Problem(path="model", rule="must not be empty"))
        problems += self._key_problems()
        problems += [
            Problem(path=f"extra_body.{name}", rule="is set by the client itself")
            for name in sorted(_RESERVED & set(self.extra_body))
        ]
        if problems:
            raise ScenarioError(problems)

    def _key_problems(self) -> list[Problem]:
        names = [name for name in ("api_key", "api_key_env", "api_key_file") if getattr(self, name)]
        if len(names) > 1:
            return [Problem(path=names[1], rule=f"must not be given beside {names[0]}")]
        path = names[0] if names else "api_key"
        try:
            key = self.key
        except ScenarioError as error:
            return list(error.problems)
        if names and not key:
            return [Problem(path=path, rule="must name a key that is not empty", value=getattr(self, path))]
        if not (key.isascii() and key.isprintable() and " " not in key):
            return [Problem(path=path, rule="must be printable ASCII without blanks")]
        return []

    @property
    def key(self) -> str:
        """API key, from whichever setting gives it; empty without one.

        Raises
        ------
        ScenarioError
            If it cannot be read.
        """
        if self.api_key_env:
            if self.api_key_env not in os.environ:
                raise ScenarioError.at("api_key_env", "must be the name of a variable that is set", self.api_key_env)
            return os.environ[self.api_key_env].strip()
        if self.api_key_file:
            try:
                return read_text(self.api_key_file).strip()
            except ScenarioError as error:
                rules = ", ".join(problem.rule for problem in error.problems)
                raise ScenarioError.at("api_key_file", rules, self.api_key_file) from None
        return self.api_key

    def __repr__(self) -> str:
        return f"ObserveSettings(url={self.shown_url!r}, model={self.model!r})"

    @property
    def shown_url(self) -> str:
        """Address without user name and password."""
        return re.sub("[^/]*@", "", self.url)

    @property
    def base_url(self) -> str:
        """Address without ``/v1`` and slashes at its end."""
        return self.url.rstrip("/").removesuffix("/v1").rstrip("/")


def _address_rule(url: str) -> str:
    """Return the rule that host and port of an address break; None if there is none."""
    try:
        parts = urlsplit(url)
    except ValueError as broken:
        return f"must be an address: {broken}"
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return "must have a port from 1 to 65535"
    return "" if parts.hostname else "must have a host"
