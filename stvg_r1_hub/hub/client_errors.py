"""The Hub client's errors as one sentence each, for fetching and for sending."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stvg_r1_hub.errors import ModelError

USE_BUNDLED = "use the bundled model 'tiny'"


@contextmanager
def fetching(
    repo_id: str, revision: str | None = None, *, instead: str = USE_BUNDLED
) -> Iterator[None]:
    """Turn what goes wrong while files are fetched into a `ModelError`.

    `instead` is what a user can do where the Hub is out of reach.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise ModelError(_invalid(repo_id)) from error
    except GatedRepoError as error:
        raise ModelError(
            f"Access to {repo_id} is gated: accept its terms on huggingface.co/{repo_id}, "
            "then log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {repo_id} on the Hub, or it is private: check the name, "
            "or log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{repo_id} has no revision '{revision}'; name one of its branches, tags or commits."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(_out_of_reach(repo_id, revision, error, instead)) from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"The Hub refused the request for {repo_id} (HTTP {_status(error)}); "
            "check your token and try again later."
        ) from error
    except _transport_error() as error:
        raise ModelError(
            f"Fetching {repo_id} broke off ({_one_line(error)}); check the network and repeat the "
            "same call: whole files stay."
        ) from error
    except OSError as error:
        raise ModelError(
            f"Cannot fetch {repo_id}: {error.strerror or error}; check the network and the disk."
        ) from error


@contextmanager
def sending(repo_id: str) -> Iterator[None]:
    """Turn what goes wrong while files are sent into a `ModelError`."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except HFValidationError as error:
        raise ModelError(_invalid(repo_id)) from error
    except OfflineModeIsEnabled as error:
        raise ModelError(
            f"Nothing was sent to {repo_id}: HF_HUB_OFFLINE keeps this process from the network; "
            "unset it."
        ) from error
    except LocalTokenNotFoundError as error:
        raise ModelError(_no_access(repo_id, "no token")) from error
    # Threads of the client wrap what happened; xet's errors have no class of their own.
    except (HfHubHTTPError, _transport_error(), OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(_not_sent(repo_id, _innermost(error))) from error


def _not_sent(repo_id: str, error: BaseException) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    status = _status(error) if isinstance(error, HfHubHTTPError) else None
    message = getattr(error, "server_message", None) or _one_line(error)
    reason = " ".join(str(message).split())[:300].rstrip(".")
    if status in (401, 403, 404) or isinstance(error, PermissionError):
        return _no_access(repo_id, f"HTTP {status}: {reason}" if status else reason)
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return (
            f"The Hub refused what was sent to {repo_id} (HTTP {status}: {reason}); "
            "correct that, then repeat the same call."
        )
    return (
        f"Sending to {repo_id} broke off ({f'HTTP {status}: ' if status else ''}{reason}); "
        "repeat the same call: what is there already is not sent again."
    )


def _no_access(repo_id: str, reason: str) -> str:
    return (
        f"{repo_id} may not be written with this login ({reason}); log in as its owner, with a "
        "token that may write: hf auth login"
    )


def _invalid(repo_id: str) -> str:
    return f"'{repo_id}' is not a valid Hub id; it must have the form 'owner/name'."


def _out_of_reach(repo_id: str, revision: str | None, error: Exception, instead: str) -> str:
    wanted = f"{repo_id} at revision '{revision}'" if revision else repo_id
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    cause = error.__cause__
    if offline or cause is None:
        return (
            f"{wanted} is not in the local cache and downloads are switched off; "
            f"unset HF_HUB_OFFLINE and local_files_only, or {instead}."
        )
    return (
        f"{wanted} is not in the local cache and the Hub cannot be reached; "
        f"check the network, or {instead}."
    )


def _transport_error() -> type[Exception]:
    """The base error of the client's HTTP library, which has two names by version."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _innermost(error: BaseException) -> BaseException:
    """What the Hub said, if it said something; else where a chain of errors began."""
    from huggingface_hub.errors import HfHubHTTPError

    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    return error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
