"""Saving a pipeline, and pushing it to the Hub."""

from __future__ import annotations

from pathlib import Path

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.hub import saving


class Publishing:
    """The part of `STVGPipeline` that writes it to a folder or to the Hub.

    Attributes:
        config: what the weights were trained with.
    """

    config: STVGConfig
    _bundle: hub.Bundle | None
    """Where the weights come from; None when the language model was given by hand."""

    def save_pretrained(self, folder: str | Path, *, results: str | Path | None = None) -> None:
        """Write the model, its detector, its settings and a model card into a folder.

        `from_pretrained(folder)` gives the same settings and the same answers.

        Args:
            folder: a new or empty one, or a saved pipeline, which is replaced.
            results: the `--out` folder or `--json` file of `stvg eval`; the card shows its
                figures, and no others.

        Raises:
            ModelError: this pipeline was built around a language model given by hand, or the
                results cannot be read or were measured with other weights or settings.
            OutputError: the folder holds something else, or cannot be written.
        """
        bundle = self._own_bundle("save")
        saving.save_bundle(
            bundle.own_folder, self.config, _title(bundle.name), folder, results=results
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload an STVG-R1 pipeline",
        results: str | Path | None = None,
        dry_run: bool = False,
    ) -> str:
        """Upload what `save_pretrained` writes; returns the address of the commit.

        Repository and branch are made when missing. A broken upload is repeated by the same call:
        what is there is not sent again. Weights of an earlier push go, other files stay.

        Args:
            repo_id: Hub id, `"owner/name"`.
            token: Hub token; None uses the one of `hf auth login`.
            private: whether a new repository is private; None takes the owner's default.
            revision: branch; None is `main`.
            commit_message: first line of the commit.
            results: see `save_pretrained`.
            dry_run: send nothing, and return a line a file with its bytes.

        Raises:
            ModelError: as in `save_pretrained`, or the Hub cannot be reached or refuses.
        """
        bundle = self._own_bundle("push")
        return saving.push_bundle(
            bundle.own_folder,
            self.config,
            repo_id,
            token=token,
            private=private,
            revision=revision,
            commit_message=commit_message,
            results=results,
            dry_run=dry_run,
        )

    def _own_bundle(self, what: str) -> hub.Bundle:
        if self._bundle is None:
            raise ModelError(
                f"Cannot {what} this pipeline: its language model was given by hand, so there are "
                "no files to copy; load it with from_pretrained instead."
            )
        return self._bundle


def _title(name: str) -> str:
    return Path(name).name or name
