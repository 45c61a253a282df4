"""The `stvg` command: ground, track, eval, demo, app, doctor.

Results go to stdout or to files, messages and progress bars to stderr. A mistake of the caller is
one sentence and exit code 2; not finding the object is a result, and exit code 0.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from stvg_r1_hub import __version__
from stvg_r1_hub.cli.guessing import GuessingParser
from stvg_r1_hub.errors import ConfigError, STVGError, first_line

GROUND_EXAMPLES = """examples:
  stvg ground clip.mp4 "the person walking to the left" --out answer.mp4 --style blur
  stvg ground clip.mp4 "the dog" "the red car" --json answers.json
  stvg ground frames/ "the dog" --fps 25 --plot timeline.png
  stvg ground *.mp4 --query "the dog" --out answers/       (again: goes on where it stopped)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
    if not sys.stderr.isatty():
        # Bars of the libraries fill a log file with noise; ours switch themselves off.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        _check_dashes(arguments)
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
    except STVGError as error:
        print(f"stvg: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2
    except ImportError as error:
        if (error.name or "").startswith("stvg_r1_hub"):
            raise
        # Most often OpenCV without libGL, in a slim container.
        message = f"stvg: the installation is not whole ({first_line(error)}); "
        print(message + "`stvg doctor` says what repairs it.", file=sys.stderr)  # noqa: T201
        return 2
    except BrokenPipeError:
        # Whoever reads our output has seen enough, as in `stvg … | head`; keep the
        # interpreter from complaining about it again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("stvg: stopped.", file=sys.stderr)  # noqa: T201
        return 130
    return code


def _check_dashes(arguments: Sequence[str]) -> None:
    """Refuse a file whose name argparse would take for an option, in words that help.

    Raises:
        ConfigError: a word such as `-dash.mp4`.
    """
    for word in arguments:
        if word == "--":
            return
        if re.fullmatch(r"-[^\s=]*\.[A-Za-z]\w*", word):
            raise ConfigError(
                f"Got {word}, which reads as an option because of its dash; "
                f"if it is a file, write ./{word}."
            )


def _parser() -> argparse.ArgumentParser:
    # Not at the top, so that an interrupt meanwhile finds `main` already there to answer it.
    from stvg_r1_hub import outputs
    from stvg_r1_hub.cli import commands, grounding
    from stvg_r1_hub.evaluation.options import add_eval, passes_from_text

    parser = GuessingParser(
        prog="stvg", description="Where and when in this video is what you describe?"
    )
    parser.add_argument("--version", action="version", version=f"stvg {__version__}")

    def show_help(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(run=show_help)
    named = parser.add_subparsers(metavar="COMMAND")

    ground = named.add_parser(
        "ground",
        help="find what a query describes",
        epilog=GROUND_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ground.set_defaults(run=grounding.ground)
    ground.later_words = "queries"
    _add_video(ground)
    ground.add_argument(
        "queries", nargs="*", metavar="query", help="what to look for; with --query, more videos"
    )
    ground.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="what to look for in every video that is named; may be given several times",
    )
    _add_model(ground)
    for name, what in (("--start", "before"), ("--end", "after")):
        ground.add_argument(
            name,
            type=float,
            metavar="SECONDS",
            help=f"look at nothing {what} this moment; results keep the times of the whole video",
        )
    ground.add_argument(
        "--out",
        help="overlay video to write (.mp4 or .gif); of several videos, the folder for "
        "results.jsonl, a line a video",
    )
    ground.add_argument(
        "--style",
        action="append",
        default=[],
        choices=outputs.STYLES,
        help="how that video is drawn: with trails, the background blurred, plain without boxes, "
        "the moment alone; may be given several times",
    )
    ground.add_argument("--json", help="result to write as JSON; - prints it")
    ground.add_argument("--plot", help="timeline picture to write (.png)")
    ground.add_argument("--keyframes", help="keyframe strip to write (.png)")
    ground.add_argument("--masks", action="store_true", help="masks of the answered objects too")
    ground.add_argument(
        "--min-confidence",
        type=float,
        metavar="X",
        help="0..1: an answer that the model is less sure of counts as not found",
    )
    ground.add_argument(
        "--time-only", action="store_true", help="ask for the time alone; nothing is tracked"
    )
    ground.add_argument(
        "--prompt-id",
        metavar="NAME",
        help="another prompt than the model was made for, such as stvg-r1-multi",
    )
    ground.add_argument(
        "--quantization",
        choices=("4bit", "8bit", "int8"),
        help="load the language model smaller; 4bit and 8bit need a GPU",
    )
    ground.add_argument("--max-objects", type=int, help="consider only the N most visible objects")
    ground.add_argument(
        "--passes",
        type=passes_from_text,
        choices=(1, 2, "auto"),
        default=1,
        help="looks at the video: 1 as the paper does, 2 for every further look, auto for those "
        "that are known to pay: at long videos and, by the bundled model, at crowds (default: 1)",
    )
    ground.add_argument(
        "--max-windows", type=int, help="ask at most N windows of a long video, with --passes"
    )

    track = named.add_parser("track", help="find and number all objects, without a question")
    track.set_defaults(run=commands.track)
    _add_video(track)
    track.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="what open, yolo-world and yoloe look for; may be given several times",
    )
    track.add_argument(
        "--model",
        help="track as this model does, with its detector and settings: bundled name, folder or "
        "Hub id, fetched without its language model (default: the detectors of tiny, all objects)",
    )
    track.add_argument("--out", help="video to write with all IDs drawn (.mp4 or .gif)")
    track.add_argument("--json", help="tracks to write as JSON; - prints them")
    _add_tracker(track)

    add_eval(named)

    demo = named.add_parser("demo", help="ground two bundled clips with the bundled model")
    demo.set_defaults(run=commands.demo)
    demo.add_argument("--out", default="stvg-demo", help="folder to write (default: stvg-demo)")

    app = named.add_parser("app", help="serve the web page on this machine")
    app.set_defaults(run=commands.app)
    app.add_argument(
        "--model",
        action="append",
        default=[],
        help="model to offer; give it several times to offer a choice (default: what fits here)",
    )
    app.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    app.add_argument("--host", help="address to listen on (default: this machine only)")
    app.add_argument("--port", type=int, help="port (default: a free one from 7860 on)")
    app.add_argument("--open", action="store_true", help="show the page in a browser")
    app.add_argument("--mcp", action="store_true", help="also be an MCP server")
    app.add_argument("--max-seconds", type=float, help="longest video that is taken (default: 180)")

    doctor = named.add_parser("doctor", help="say what is installed and what is missing")
    doctor.set_defaults(run=commands.doctor)
    doctor.add_argument(
        "--server",
        metavar="URL",
        help="say instead what this server is, which inputs it takes, and whether its model reads "
        "the numbers and tells the time of a drawn clip",
    )
    doctor.add_argument(
        "--model",
        default="zero-shot",
        help="whose settings the server is asked with (default: zero-shot, those for any model)",
    )
    return parser


def _add_video(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "video", help="video file, - for a piped one, or a folder of pictures with --fps"
    )
    parser.add_argument("--fps", type=float, help="frames per second of a folder of pictures")
    parser.add_argument(
        "--allow-url", action="store_true", help="also download a video from an http(s) address"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="bundled name, folder or Hub id (default: tiny, or with --server zero-shot, the "
        "settings for any model)",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub model")
    from stvg_r1_hub.evaluation.options import add_server

    add_server(parser)
    _add_tracker(parser)


def _add_tracker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tracker",
        default="auto",
        help="auto, coco, rtdetr, open, yolo, yolo-world, yoloe, paper, paper-coco, a detector's "
        "folder or Hub id, YOLO weights, or precomputed tracks (default: auto)",
    )
    parser.add_argument(
        "--classes",
        help="what is tracked: all, person, non-person, or names with commas, such as dog,cat "
        "(default: as the model's settings say, usually all)",
    )
    parser.add_argument(
        "--segmenter",
        default="auto",
        help="what follows masks: auto, sam2-package, or the folder or Hub id of a SAM 2, EdgeTAM "
        "or SAM 3 video model (default: auto)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")


if __name__ == "__main__":
    sys.exit(main())
