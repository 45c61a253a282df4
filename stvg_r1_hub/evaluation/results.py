"""Results on disk: `run.json` says what is run, one JSON line a sample says what came out.

A run can be killed at any moment and taken up again: lines are written whole, a cut last line is
done again, and a folder that holds the results of another model or other settings is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stvg_r1_hub.errors import AnnotationError, ConfigError, OutputError
from stvg_r1_hub.evaluation.lines import Line
from stvg_r1_hub.evaluation.samples import AnnotatedSample, SetAside
from stvg_r1_hub.outputs import make_folder, replacing

RUN_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
SET_ASIDE_FILE = "set_aside.jsonl"
_DECIDES_NOTHING = ("hub_dataset", "hub_task")


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the results; two runs that differ in one are not the same run.

    What the benchmark is called on the Hub may be told later.
    """

    benchmark: str
    title: str
    task: str
    model: str
    model_fingerprint: str
    """Digest of the model's files and settings."""
    tracker: str
    answers: str
    tracks: str
    """Folder of prepared tracks, or empty."""
    seed: int
    annotations_sha256: str
    """Digest of all samples' annotations."""
    first_frame_number: int
    n_samples: int
    classes: str = "all"
    """What was tracked, as `TrackingConfig.class_mode` says it."""
    passes: str = "1"
    """How often each clip was looked at, as `looking.PASSES` says it."""
    hub_dataset: str = ""
    """Hub id of the benchmark, for the Hub's evaluation results; empty where it has none."""
    hub_task: str = ""
    """Its name among the tasks of that dataset."""

    def save(self, folder: Path) -> None:
        """Write `run.json`."""
        with replacing(folder / RUN_FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> RunSettings:
        """Read `run.json` of a results folder.

        Raises:
            AnnotationError: the folder holds no results.
        """
        path = folder / RUN_FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise AnnotationError(
                f"{folder} holds no results: {path} cannot be read ({error}); name the --out "
                "folder of an evaluation."
            ) from error


def start_or_resume(settings: RunSettings, folder: Path) -> None:
    """Make a results folder, or check that the one there is of the same run.

    Raises:
        ConfigError: it holds results of another run; what differs is said.
        OutputError: it cannot be made, or holds something else.
    """
    make_folder(folder)
    if not (folder / RUN_FILE).exists():
        if any(folder.glob("results*.jsonl")):
            raise OutputError(f"{folder} holds results without {RUN_FILE}; name another folder.")
        settings.save(folder)
        return
    before = asdict(RunSettings.load(folder))
    now = asdict(settings)
    other = [name for name in now if before[name] != now[name]]
    if other and set(other) <= set(_DECIDES_NOTHING):
        settings.save(folder)
    elif other:
        changes = "; ".join(f"{name} was {before[name]!r}, is {now[name]!r}" for name in other[:3])
        raise ConfigError(
            f"{folder} holds the results of another run ({changes}); name another --out folder, or "
            "remove this one to start again."
        )


def digest_of(samples: Iterable[AnnotatedSample]) -> str:
    """SHA-256 of everything that is true about the samples."""
    digest = hashlib.sha256()
    for sample in samples:
        parts = (sample.sample_id, sample.query, sample.start_seconds, sample.end_seconds,
                 sample.clip_seconds, sample.frame_base, sample.masks)  # fmt: skip
        digest.update(repr(parts).encode())
        if sample.annotated_frames is not None:
            digest.update(repr(sample.annotated_frames).encode())
        if sample.ranges:
            digest.update(repr(sample.ranges).encode())
        digest.update(sample.frame_indices.tobytes() + sample.boxes.tobytes())
    return digest.hexdigest()


def save_set_aside(set_aside: Sequence[SetAside], folder: Path) -> None:
    """Write what of the annotations is set aside, a line each."""
    with replacing(folder / SET_ASIDE_FILE) as temporary:
        text = "".join(json.dumps(asdict(fault), ensure_ascii=False) + "\n" for fault in set_aside)
        temporary.write_text(text, encoding="utf-8")


def read_set_aside(folder: Path) -> list[SetAside]:
    """What `save_set_aside` wrote; nothing where a run has no such file.

    Raises:
        AnnotationError: the file is damaged.
    """
    path = folder / SET_ASIDE_FILE
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [SetAside(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise AnnotationError(f"{path} is damaged ({error}); run the evaluation again.") from error


def iterate_lines(folder: Path) -> Iterator[Line]:
    """All finished samples of a results folder, one at a time; a cut line is left out.

    Raises:
        AnnotationError: a file that is no results file, or one of an older version.
    """
    for _, _, line in _places(folder):
        yield line


def _places(folder: Path) -> Iterator[tuple[Path, int, Line]]:
    """File, offset and content of each finished sample, the first one of an id."""
    seen = set()
    for path in sorted(folder.glob("results*.jsonl")):
        with path.open("rb") as file:
            offset = 0
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):  # cut by a kill
                    break
                try:
                    line = json.loads(text)
                    sample_id, _ = line["sample_id"], line["scores"]["strict"]
                except (ValueError, KeyError, TypeError) as error:
                    raise AnnotationError(
                        f"{path}, line {number} is no result of this version ({error!r}); run the "
                        "evaluation again, into another folder."
                    ) from error
                if sample_id not in seen:
                    seen.add(sample_id)
                    yield path, offset, line
                offset += len(text)


def read_lines(folder: Path, ids: Collection[str] | None = None) -> dict[str, Line]:
    """Finished samples of a results folder by id, all or some of them; see `iterate_lines`."""
    return {
        line["sample_id"]: line
        for line in iterate_lines(folder)
        if ids is None or line["sample_id"] in ids
    }


def read_outlines(folder: Path) -> list[Line]:
    """All finished samples without what only pictures of them need: tubes, texts, warnings."""
    return [
        {
            **line,
            "text": "",
            "tube": [],
            "truth": {**line["truth"], "boxes": line["truth"]["boxes"][:1]},
            # What contradicted an annotation; the model's own warnings stay in the file.
            "notes": [note for note in line["notes"] if note.startswith("Sample ")],
        }
        for line in iterate_lines(folder)
    ]


def own_file(folder: Path, rank: int, count: int) -> Path:
    """Where one of `count` processes writes its lines."""
    return folder / (RESULTS_FILE if count == 1 else f"results.{rank}.jsonl")


def merge_lines(folder: Path, order: Sequence[str]) -> None:
    """All results in one file, in the benchmark's order; the parts of several processes go.

    Raises:
        OutputError: it cannot be written.
    """
    places = {line["sample_id"]: (path, offset) for path, offset, line in _places(folder)}
    files = {path: path.open("rb") for path in {path for path, _ in places.values()}}
    with contextlib.ExitStack() as opened:
        for file in files.values():
            opened.enter_context(file)
        with replacing(folder / RESULTS_FILE) as temporary, temporary.open("wb") as target:
            for path, offset in (places[i] for i in order if i in places):
                files[path].seek(offset)
                target.write(files[path].readline())
    for path in folder.glob("results.*.jsonl"):
        path.unlink()
