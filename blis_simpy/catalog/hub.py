"""The ``config.json`` of a Hugging Face repository, fetched once and then kept.

A ``hf_quant_config.json`` beside it is fetched, too, if the configuration has no quantisation.

The hub's own client does the work, so its environment holds: ``HF_HOME`` is where the file is kept, ``HF_TOKEN`` opens
gated and private repositories, ``HF_ENDPOINT`` names a mirror, ``HF_HUB_OFFLINE`` forbids the network, and
``HF_HUB_ETAG_TIMEOUT`` is how many seconds to wait for an answer. It is imported only when a file is needed.
"""

from __future__ import annotations

import re
from pathlib import Path

from blis_simpy.catalog.models import QUANTISATION_FILE
from blis_simpy.errors import ScenarioError
from blis_simpy.files.text_files import read_text

__all__ = ["fetch_config"]

_FILE = "config.json"
_NAME = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


def fetch_config(repo: str, hint: str = "") -> Path:
    """Return the path of a repository's ``config.json`` in the hub's cache, fetching it if it is not there.

    A file that was fetched once is used as it is, without asking the hub for a newer one.

    Parameters
    ----------
    repo : str
        Repository, as organisation/name.
    hint : str, optional
        What else the user may try, for messages.

    Raises
    ------
    ScenarioError
        If there is no such repository or file, it may not be read, the hub cannot be reached, or its client is not
        installed: one line that lists the attempts.
    """
    if not _NAME.fullmatch(repo):
        raise _error(repo, "its name is not that of a Hugging Face repository: organisation/name", hint, "hub_name")
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        reason = "fetching it from Hugging Face needs: pip install blis-simpy[hub]"
        raise _error(repo, reason, hint, "hub_not_installed") from None
    try:
        return Path(hub.hf_hub_download(repo, _FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError:
        raise _error(repo, "its name is not that of a Hugging Face repository", hint, "hub_name") from None
    try:
        # Asked first, because a download tries for minutes to reach a hub that is silent, and hides why it gave up.
        hub.get_hf_file_metadata(hub.hf_hub_url(repo, _FILE), timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
        return _download(repo)
    except Exception as error:  # what a lost connection raises depends on the version of the client
        reason, code = _reason(error, hub.constants.ENDPOINT)
        raise _error(repo, reason, hint, code) from error


def _download(repo: str) -> Path:
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = Path(hub.hf_hub_download(repo, _FILE))
    if "quantization_config" not in read_text(path):
        try:
            hub.hf_hub_download(repo, QUANTISATION_FILE)
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # the hub was not reached
                raise
    return path


def _error(repo: str, reason: str, hint: str, code: str) -> ScenarioError:
    return ScenarioError.at("model", f"is not in the catalog, and {reason}", repo, hint=hint, code=code)


def _reason(error: Exception, endpoint: str) -> tuple[str, str]:
    """Say in a few words why a file could not be fetched; and the code of that."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "its config.json was never fetched, and HF_HUB_OFFLINE forbids it now", "hub_offline"
    if isinstance(error, errors.GatedRepoError):
        return f"{endpoint} shows it to approved users only: ask for access there and set HF_TOKEN", "hub_gated"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{endpoint} has no such repository, or hides it without the right HF_TOKEN", "hub_no_repository"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"its repository on {endpoint} has no config.json", "hub_no_config"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{endpoint} refuses to show it (HTTP {status}): is HF_TOKEN right?", "hub_refused"
    if status is not None:
        return f"{endpoint} does not give its config.json (HTTP {status})", "hub_status"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{endpoint} cannot be reached: {text}", "hub_unreachable"
