"""How a real server is talked to."""

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
    """Where requests go, what they ask for, and how many of them may be under way.

    Raises
    ------
    ScenarioError
        If the URL is no plain address of HTTP, the key could not be sent, or the extra body would replace the request
        itself.
    """

    url: str = setting(help="Address of the server, e.g. http://localhost:8000.", flag="--server-url")
    model: str = setting(help="Model to ask for, where the client of a request names none.", flag="--model")
    api_format: str = setting(
        default="completions",
        help="What the server is asked for.",
        choices=("completions", "chat"),
        flag="--api-format",
    )
    streaming: str = setting(
        default="always",
        help="Whether answers come in pieces; by-client: as the client of the specification says.",
        choices=("always", "never", "by-client"),
        flag="--streaming",
    )
    unconstrained_output: bool = setting(
        default=False, help="Let the model end its answers itself.", flag="--unconstrained-output"
    )
    max_concurrency: int = setting(default=256, help="Requests under way at a time.", gt=0, flag="--max-concurrency")
    warmup_requests: int = setting(
        default=0, help="How many of the first requests are sent, but not recorded.", ge=0, flag="--warmup-requests"
    )
    timeout: Duration = setting(
        default=300 * SECOND,
        help="Longest time for one answer.",
        unit="us",
        gt=0,
        dimension="duration",
        flag="--timeout",
    )
    api_key: str = setting(
        default="",
        help="Key that is sent as a bearer token. Other users of the machine see it in the list of processes.",
        flag="--api-key",
    )
    api_key_env: str = setting(default="", help="Environment variable that holds the key.", flag="--api-key-env")
    api_key_file: str = setting(default="", help="File that holds the key.", is_path=True, flag="--api-key-file")
    tokenizer: Any = setting(
        default=None, help="Callable that counts the tokens of answers without usage; returns tokens or their number."
    )
    extra_body: Mapping[str, Any] = setting(
        factory=dict, help="Further keys of every request's body, e.g. ignore_eos, temperature."
    )
    distinct_prompts: bool = setting(
        default=False,
        help="Fill prompts with words of their own in place of hello, lest a prefix cache finds them equal.",
        flag="--distinct-prompts",
    )
    server_type: str = setting(default="vllm", help="Kind of server; only recorded.", flag="--server-type")
    rtt_ms: float = setting(default=0.0, help="Round-trip time to it; only recorded.", unit="ms", ge=0, flag="--rtt-ms")

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
        """The key, from wherever it comes; empty if there is none.

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
        """The address without the name and the password that it may have."""
        return re.sub("[^/]*@", "", self.url)

    @property
    def base_url(self) -> str:
        """The address without ``/v1`` and slashes at the end."""
        return self.url.rstrip("/").removesuffix("/v1").rstrip("/")


def _address_rule(url: str) -> str:
    """Say what is wrong with host and port of an address; nothing if they are fine."""
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
