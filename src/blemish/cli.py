"""The command line: parse, call, print, exit; no arithmetic here.

Exit codes: 0 all good, 1 something defective, unsure or found broken, 2 an error, 130 stopped by the user.

What a command needs is imported where it is used, so that no command waits for what it does not need.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

import blemish
from blemish.errors import BlemishError, MissingExtraError, OutputError, SettingError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from blemish.detection.zones import Mask
    from blemish.report.batch import Workers
    from blemish.report.page import Table
    from blemish.station.store import Store

_STOPPED = 130  # exit code of what Ctrl-C stopped, as shells have it
_EXTRA = frozenset({"torch", "onnx", "sklearn", "scipy", "matplotlib"})  # modules that the extra `learn` brings


class _Commands(TyperGroup):
    """Ends a command that Ctrl-C stopped with a word and its exit code, which Typer's versions do not agree about."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("blemish: stopped with Ctrl-C.")
            raise typer.Exit(_STOPPED) from None
        except typer.Abort:
            _say("blemish: stopped, for a question was not answered.")
            raise typer.Exit(_STOPPED) from None


class _Method(StrEnum):  # this and the next five repeat what the library takes, which must not be loaded to parse
    NEAREST = "nearest"
    TAYEH2020 = "tayeh2020"
    STAAR2019 = "staar2019"


class _Reference(StrEnum):
    AUTO = "auto"
    LOCATION = "location"
    CATEGORY = "category"


class _PaperReference(StrEnum):
    LOCATION = "location"
    CATEGORY = "category"


class _Runtime(StrEnum):
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    AUTO = "auto"


class _Role(StrEnum):
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


class _Side(StrEnum):
    WHOLE = "1024"
    HALF = "512"
    QUARTER = "256"
    EIGHTH = "128"


app = typer.Typer(
    name="blemish",
    cls=_Commands,
    help="Find defects on industrial surfaces after seeing good examples only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GoodDir = Annotated[Path, typer.Argument(metavar="GOOD_DIR", help="Folder of good images, category folder, or CSV.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files, folders, or CSVs.")]
ModelIn = Annotated[Path, typer.Argument(metavar="MODEL", help="A .blemish file.")]
Alpha = Annotated[float, typer.Option(help="Accepted false-alarm rate: 0.01 = 1 in 100 good parts stopped.")]
Unsure = Annotated[
    float | None,
    typer.Option(help="Also send parts to a person: 0.1 = 1 in 10 good parts stopped or sent. By default none is."),
]
Seed = Annotated[
    int,
    typer.Option(min=0, metavar="<int>", help="Sets all that is random: the same seed gives the same result on a CPU."),
]
Ignore = Annotated[Path | None, typer.Option(help="Mask image or labelme JSON: where nothing counts.")]
Only = Annotated[Path | None, typer.Option(help="Mask image or labelme JSON: where alone something counts.")]
By = Annotated[str, typer.Option("--by", help="Who makes the change, for the history; by default your user name.")]
Why = Annotated[str, typer.Option("--why", help="Reason of the change, for the history.")]
OverItself = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; by default MODEL itself.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
StationDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a station.")]
UserName = Annotated[str, typer.Argument(metavar="NAME", help="Of the user, in any case.")]
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Of the machine, for the audit log.")]
RoleOf = Annotated[_Role, typer.Option("--role", help="What it allows; each allows what those before it do.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="File whose first line is the password, - for stdin; by default you are asked for it."),
]
Noted = Annotated[
    str | None, typer.Option("--head", metavar="SEQ:HASH", help="Newest entry as it was noted in another place.")
]
_REFERENCES = "location: parts that always lie the same way. category: textures."


@app.command(short_help="Learn one category from good images.")
def fit(
    good_dir: GoodDir,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .blemish file to write.")],
    method: Annotated[
        _Method, typer.Option(help="nearest: ours. The paper's: tayeh2020, random erasing; staar2019, Gaussian noise.")
    ] = _Method.NEAREST,
    reference: Annotated[
        _Reference, typer.Option(help=f"{_REFERENCES} auto: look at the images and choose.")
    ] = _Reference.AUTO,
    minutes: Annotated[
        float | None, typer.Option(help="About how long to train; by default 5. Method nearest only.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Train exactly so many steps instead, to repeat a result. Method nearest only."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the good images. The paper's methods only; by default 40.")
    ] = None,
    side: Annotated[
        _Side | None,
        typer.Option(help="Pixels a side images are scaled to. The paper's methods only; by default 1024."),
    ] = None,
    alpha: Alpha = 0.01,
    unsure: Unsure = None,
    ignore: Ignore = None,
    only: Only = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="<int>", help="Sets all that is random: same seed and --steps, same result on a CPU."
        ),
    ] = 0,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Learn from a random half of a category's good images; evaluate judges on the rest."
        ),
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with random weights, not with the universal network.")
    ] = False,
    defective: Annotated[
        list[Path] | None,
        typer.Option(
            help="Images with known defects to learn from, masks beside them or in ground_truth; may be given again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn from good images of one category and write a .blemish file.

    An unfinished run is kept beside the output; the same command goes on with it. Ctrl-C keeps what was learned so
    far, and the exit code is then 130.
    """
    _require_writable(output)
    ignored = _zones(ignore, only)
    checkpoint = output.with_name(output.name + ".checkpoint")
    with _progress() as progress:
        detector = blemish.fit(
            good_dir,
            method=method.value,
            reference=reference.value,
            minutes=minutes,
            steps=steps,
            side=None if side is None else int(side),
            epochs=epochs,
            alpha=alpha,
            unsure=unsure,
            ignored=ignored,
            seed=seed,
            half=half,
            from_scratch=from_scratch,
            defective=defective or (),
            checkpoint_path=checkpoint,
            progress=progress,
        )
    detector.save(output)
    is_stopped = detector.description.training["interrupted"]
    if not is_stopped:
        checkpoint.unlink(missing_ok=True)
    _tell_new_model(detector, output, as_json)
    if is_stopped:
        _say(
            f"Stopped early; {output} holds what was learned so far. The same command goes on with the training. "
            f"The exit code is {_STOPPED}, so that nothing takes this for a finished model."
        )
        raise typer.Exit(_STOPPED)


@app.command(short_help="Make a model of a new category without training.")
def enroll(
    good_dir: GoodDir,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .blemish file to write.")],
    network: Annotated[
        Path | None,
        typer.Option("--network", help="A .blemish file whose network is used, not the universal one of Blemish."),
    ] = None,
    reference: Annotated[
        _Reference, typer.Option(help="As for fit. auto, for a network of the paper's methods: the kind it has now.")
    ] = _Reference.AUTO,
    alpha: Alpha = 0.01,
    unsure: Unsure = None,
    ignore: Ignore = None,
    only: Only = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make a .blemish file for a new category in seconds, with a network that is trained already."""
    _require_writable(output)
    ignored = _zones(ignore, only)
    trained = None if network is None else blemish.Detector.load(network)
    with _progress() as progress:
        detector = blemish.enroll(
            good_dir,
            network=trained,
            reference=reference.value,
            alpha=alpha,
            unsure=unsure,
            ignored=ignored,
            seed=seed,
            progress=progress,
        )
    detector.save(output)
    _tell_new_model(detector, output, as_json)


@app.command(short_help="Set the threshold anew from good images.")
def calibrate(
    model: ModelIn,
    images: Images,
    alpha: Alpha = 0.01,
    defective: Annotated[
        list[Path] | None,
        typer.Option(help="Defective images: file, folder, category folder or CSV; may be given again. At least five."),
    ] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="A miss costs as much as so many false alarms; by default 10.")
    ] = None,
    defect_rate: Annotated[
        float | None,
        typer.Option(help="Share of defective parts in production; by default that of the images given."),
    ] = None,
    unsure: Unsure = None,
    by: By = "",
    why: Why = "",
    output: OverItself = None,
    as_json: AsJson = False,
) -> None:
    """Set the threshold anew from good images that the model has not learned from. The graph is not touched.

    Folders and CSVs are read as by fit: of a category folder its train/good, of another one the images directly inside.
    With --defective the limit moves to that of lowest cost, where cross-validation says that this costs less.
    """
    from blemish.datasets import read_defective

    detector = blemish.Detector.load(model)
    _require_writable(output or model)
    good = _good_images(images)
    if not defective:
        if cost_ratio is not None or defect_rate is not None:
            raise SettingError("--cost-ratio and --defect-rate weigh defective images; give those with --defective.")
        with _progress() as progress:
            detector = detector.calibrate(good, alpha=alpha, unsure=unsure, who=by, why=why, progress=progress)
        detector.save(output or model)
        _tell_model(detector, output or model, as_json)
        return
    if unsure is not None:
        raise SettingError(
            "--defective weighs one limit between good and defective, without a lower one. Leave --unsure out, and set "
            "the lower limit afterwards with `blemish threshold`."
        )
    from blemish.evaluation.limits import choose_limit

    known = [path for source in defective for path in read_defective(source)]
    with _progress() as progress:
        detector, choice = choose_limit(
            detector,
            good,
            known,
            alpha=alpha,
            cost_ratio=cost_ratio,
            defect_rate=defect_rate,
            who=by,
            why=why,
            progress=progress,
        )
    detector.save(output or model)
    if not as_json:
        _tell_tables(choice.tables())
        for line in choice.sentences():
            _print(line)
    _tell_model(detector, output or model, as_json, choice=choice.to_dict())


@app.command(short_help="Teach a model good parts that it stopped wrongly.")
def accept(
    model: ModelIn,
    images: Images,
    defective: Annotated[
        list[Path] | None,
        typer.Option(help="Defective images, folders or CSVs: refuse if one is missed from then on. May be repeated."),
    ] = None,
    by: By = "",
    why: Why = "",
    output: OverItself = None,
    as_json: AsJson = False,
) -> None:
    """Add good parts that were stopped wrongly to what good looks like, in seconds. The threshold stays as it is.

    Says of each image what it is called afterwards. threshold --undo takes it back.
    """
    from blemish.datasets import list_images, read_defective

    detector = blemish.Detector.load(model)
    _require_writable(output or model)
    paths = [path for source in images for path in list_images(source)]
    defects = [path for source in defective or [] for path in read_defective(source)]
    with _progress() as progress:
        detector = blemish.accept(detector, paths, defective=defects, who=by, why=why, progress=progress)
    detector.save(output or model)
    if not as_json:
        for path in paths:
            _print_row(detector.inspect(path).to_dict())
    _tell_model(detector, output or model, as_json)


@app.command(short_help="Show, move or restore the threshold.")
def threshold(
    model: ModelIn,
    value: Annotated[float | None, typer.Option("--set", help="Set the limit by hand.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Move the limit to this false-alarm rate, by the good images it was set by.")
    ] = None,
    unsure: Unsure = None,
    undo: Annotated[bool, typer.Option("--undo", help="Restore what was before the last change.")] = False,
    by: By = "",
    why: Why = "",
    output: OverItself = None,
    as_json: AsJson = False,
) -> None:
    """Show the threshold, what it promises, and its history; or move it. Only --undo may bring back another graph.

    Give --set, --alpha or --undo to change it. Every change is kept, with who made it, when and why.
    """
    if (value is not None) + (alpha is not None) + undo > 1 or (unsure is not None and value is None and alpha is None):
        raise SettingError("Expected one of --set, --alpha and --undo, and --unsure only with the first two.")
    detector = blemish.Detector.load(model)
    if value is not None:
        detector = detector.with_threshold(value, unsure=unsure, who=by, why=why)
    elif alpha is not None:
        detector = detector.with_alpha(alpha, unsure=unsure, who=by, why=why)
    elif undo:
        detector = detector.undo(who=by, why=why)
    else:
        _tell_model(detector, model, as_json)
        if not as_json:
            for change in detector.description.history:
                _print_change(change)
        return
    detector.save(output or model)
    _tell_model(detector, output or model, as_json)


@app.command(short_help="Leave zones of the image out of every verdict.")
def zones(
    model: ModelIn,
    good: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="GOOD", help="Good images, folders or CSVs to set the threshold anew; those of fit will do."
        ),
    ] = None,
    ignore: Ignore = None,
    only: Only = None,
    clear: Annotated[bool, typer.Option("--clear", help="Let the whole image count again.")] = False,
    alpha: Alpha = 0.01,
    unsure: Unsure = None,
    by: By = "",
    why: Why = "",
    output: OverItself = None,
    as_json: AsJson = False,
) -> None:
    """Leave zones of the image out of score, regions and map, or look at one region only. The graph is not touched.

    The threshold is set anew, for which good images are needed; those that the model has learned from are passed over.
    Zones are told in pixels of one image and scaled to others. An earlier zone is replaced.
    """
    if clear == (ignore is not None or only is not None):
        raise SettingError("Expected --ignore, --only or both, or else --clear.")
    if not good:
        raise SettingError("Found no good images. With other zones the threshold must be set anew: name good images.")
    detector = blemish.Detector.load(model)
    _require_writable(output or model)
    ignored = _zones(ignore, only)
    with _progress() as progress:
        detector = detector.with_zones(
            ignored, _good_images(good), alpha=alpha, unsure=unsure, who=by, why=why, progress=progress
        )
    detector.save(output or model)
    _tell_model(detector, output or model, as_json)


@app.command(short_help="Compute in 8-bit integers, where verdicts hold.")
def quantise(
    model: ModelIn,
    good: Annotated[
        list[Path],
        typer.Argument(metavar="GOOD", help="Good images, folders or CSVs; those that fit was given will do."),
    ],
    alpha: Annotated[
        float | None, typer.Option(help="Accepted false-alarm rate of the new limit; by default that of the model.")
    ] = None,
    by: By = "",
    why: Why = "",
    output: OverItself = None,
    as_json: AsJson = False,
) -> None:
    """Turn a model's network into 8-bit integers: faster on processors that have instructions for them.

    Refuses where a check on good images that the model has not learned from, and on synthetic defects on them, finds
    that verdicts change, or that it is hardly faster here. The limit is set anew. threshold --undo takes it back.
    """
    detector = blemish.Detector.load(model)
    _require_writable(output or model)
    with _progress() as progress:
        detector, found = blemish.quantise(
            detector, _good_images(good), alpha=alpha, who=by, why=why, progress=progress
        )
    detector.save(output or model)
    if not as_json:
        _say(found.sentence())
    _tell_model(detector, output or model, as_json, comparison=found.to_dict())


@app.command(short_help="Judge images: good, defective, or unsure.")
def inspect(
    model: ModelIn,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Image files, folders, CSVs, or URLs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for CSV, JSON lines, overlays, report.")
    ] = None,
    mm_per_pixel: Annotated[
        float | None, typer.Option(help="Side of a pixel on the surface: tells areas in square millimetres too.")
    ] = None,
    runtime: Annotated[
        _Runtime,
        typer.Option(help="What runs the graph; scores are the same. auto: measure those installed, take the fastest."),
    ] = _Runtime.ONNXRUNTIME,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Inspect on a running Ray cluster: HOST:PORT, ray://HOST:PORT or auto."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Inspect images: a verdict for each, and with -o tables, overlays, an HTML report and a PDF.

    Exit code: 0 all good, 1 something defective or unsure, 2 an error (an image that could not be read is one; the
    rest is done).
    """
    from blemish.report.batch import inspect_batch

    detector = blemish.Detector.load(model, mm_per_pixel=mm_per_pixel, runtime=runtime.value)
    if runtime is _Runtime.AUTO:
        _say(f"Runtime: {detector.runtime}, the fastest of those installed.")
    with _workers(cluster) as workers, _progress() as progress:
        tell = _print_json if as_json else _print_row
        counts = inspect_batch(detector, images, output, workers=workers, tell=tell, progress=progress)
    if counts.warnings:
        _say("Look at the camera first. These verdicts may speak of it and not of the parts.", "yellow")
    for warning in counts.warnings:
        _say(warning, "yellow")
    if not as_json:
        _say(
            f"{counts.good} good, {counts.unsure} unsure, {counts.defective} defective, "
            f"{counts.failed} could not be inspected."
        )
        if counts.kept:
            _say(f"Of these, {counts.kept} were in {output} already and stand as they were.")
        if output is not None:
            _say(f"Report: {output / 'report.html'}")
    raise typer.Exit(2 if counts.failed else 1 if counts.unsure or counts.defective else 0)


@app.command(short_help="Prove that a model decides here as where it was made.")
def verify(model: ModelIn, images: Images, as_json: AsJson = False) -> None:
    """Compare the scores of images: by every installed runtime, and with those stored when the model was made.

    Exit code: 0 when all agree, 1 when not. The images that set the threshold prove most, for their scores are stored.
    """
    from blemish.datasets import list_images
    from blemish.detection.model_file import read_model
    from blemish.detection.runtime import TOLERANCE
    from blemish.detection.verification import verify as compare

    paths = [path for source in images for path in list_images(source)]
    with _progress() as progress:
        compared = compare(read_model(model), paths, progress=progress)
    for each in compared:
        if as_json:
            _print_json(each.to_dict())
            continue
        scores = "  ".join(f"{name} {score:.6f} {each.verdicts[name]:9}" for name, score in each.scores.items())
        stored = "-" if each.stored is None else f"{each.stored:.6f}"
        agrees = "agrees" if each.agrees else "DIFFERS"
        _print(f"{agrees:7}  {each.difference:7.1e}  {scores}  stored {stored:8}  {each.path}")
    n_differing = sum(not each.agrees for each in compared)
    if not as_json:
        n_stored = sum(each.stored is not None for each in compared)
        _say(
            f"{len(compared)} images by {' and '.join(compared[0].scores)}, {n_stored} with a stored score: "
            f"largest difference {max(each.difference for each in compared):.1e}, allowed {TOLERANCE:.0e}; "
            f"{n_differing} differ."
        )
        if n_on_limit := sum(each.is_on_limit for each in compared):
            _say(f"{n_on_limit} on a limit itself, where the last digit of the score makes the verdict.")
    raise typer.Exit(1 if n_differing else 0)


@app.command(short_help="Show the synthetic defects on your own images.")
def defects(
    good_dir: GoodDir,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .png file to write.")],
    seed: Seed = 0,
) -> None:
    """Draw every kind of synthetic defect that training uses on good images, on one contact sheet."""
    from blemish.contact_sheet import contact_sheet
    from blemish.images import write_bytes

    _require_writable(output)
    with _progress() as progress:
        picture = contact_sheet(good_dir, seed=seed, progress=progress)
    write_bytes(output, picture)
    _print(str(output))


@app.command(short_help="Judge a model on images it has not seen.")
def evaluate(
    model: ModelIn,
    category_dir: Annotated[Path, typer.Argument(metavar="CATEGORY", help="Folder in MVTec AD's layout, or CSV.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for a report with figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a model on good and defective images it has not seen; nothing is fitted to them."""
    from blemish.evaluation.page import write_evaluation
    from blemish.evaluation.tables import to_markdown

    detector = blemish.Detector.load(model)
    if output is not None:
        _require_folder(output)
    with _progress() as progress:
        evaluation = blemish.evaluate(detector, category_dir, progress=progress)
    if output is not None:
        write_evaluation(evaluation, output)
    if as_json:
        _print_json(evaluation.to_dict())
    else:
        for line in (to_markdown(evaluation.table()).rstrip(), *evaluation.sentences()):
            _print(line)


@app.command(short_help="Compare two models on the same images.")
def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A .blemish file.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another .blemish file.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Category folders and CSVs with labels, or images without.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .html file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say where two models agree and, with labels, which is better; images that one of them has seen are left out."""
    from blemish.evaluation.compare import compare as compare_detectors
    from blemish.images import write_text

    detectors = blemish.Detector.load(first), blemish.Detector.load(second)
    if output is not None:
        _require_writable(output)
    names = (str(first), str(second)) if first.stem == second.stem else (first.stem, second.stem)
    with _progress() as progress:
        comparison = compare_detectors(*detectors, images, names=names, progress=progress)
    if output is not None:
        write_text(output, comparison.page())
    if as_json:
        _print_json(comparison.to_dict())
        return
    _tell_tables(comparison.tables())
    for line in comparison.sentences():
        _print(line)


@app.command(short_help="Rerun the paper.")
def reproduce(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of categories in MVTec AD's layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables, figures and the report.")],
    known: Annotated[
        str, typer.Option(help="Categories to train on, comma-separated; by default the paper's 11.")
    ] = "",
    unknown: Annotated[str, typer.Option(help="Categories that only get a prototype; by default the paper's 4.")] = "",
    repeats: Annotated[int, typer.Option(help="Runs with different seeds; the paper's 3.")] = 3,
    epochs: Annotated[int, typer.Option(help="Passes over the good images; the paper's 40.")] = 40,
    side: Annotated[_Side, typer.Option(help="Pixels a side images are scaled to; the paper's 1024.")] = _Side.WHOLE,
    reference: Annotated[_PaperReference, typer.Option(help=_REFERENCES)] = _PaperReference.LOCATION,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Rerun the paper: both methods, both protocols, known and unknown categories; tables, figures, one HTML page.

    An interrupted run goes on where it was when the same command is given again.
    """
    from blemish.evaluation.paper import PAPER_KNOWN, PAPER_UNKNOWN
    from blemish.reproduction.experiment import ReproductionSettings
    from blemish.reproduction.page import reproduce as rerun

    settings = ReproductionSettings(
        known=_names(known) or (() if unknown else PAPER_KNOWN),
        unknown=_names(unknown) or (() if known else PAPER_UNKNOWN),
        repeats=repeats,
        epochs=epochs,
        side=int(side),
        reference=reference.value,
        seed=seed,
    )
    _require_folder(output)
    with _progress() as progress:
        page = rerun(data, settings, output, progress)
    tables = {"aurocs": "aurocs.csv", "tables": "tables.md", "scores": "scores.csv"}
    _tell_page(page, as_json, **{name: str(output / file) for name, file in tables.items()})


@app.command(short_help="Draw surfaces and defects, learn, inspect, report.")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for images, models and the report.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw surfaces and defects, learn, inspect, evaluate and write a report: about two minutes, no downloads."""
    from blemish.demo import run_demo

    _require_folder(output)
    with _progress() as progress:
        page = run_demo(output, seed, progress)
    _tell_page(page, as_json)


@app.command(short_help="Run an inspection station: a service and pages for the line.")
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the station; it is made where there is none.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only once the station has an admin.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="<int>", help="Port; 0: any that is free.")] = 8000,
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder below which images may be inspected by their path; may be given again."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="<int>", help="Images inspected at once; by default one a core.")
    ] = None,
    max_upload: Annotated[float, typer.Option(help="Largest request that is taken, in MB.")] = 64,
    behind_https: Annotated[
        bool, typer.Option("--behind-https", help="A proxy on this machine speaks HTTPS for the station.")
    ] = False,
) -> None:
    """Run an inspection station until Ctrl-C: teach parts, inspect what comes, decide, prove later what happened."""
    from blemish.station.app import serve as run

    run(
        folder,
        host=host,
        port=port,
        allowed=allow or [],
        workers=workers,
        upload_mb=max_upload,
        behind_https=behind_https,
        tell=lambda address: _say(f"The station is at {address} - Ctrl-C ends it."),
    )


@app.command(short_help="Copy a station into one file, while it runs.")
def backup(
    folder: StationDir,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write; it must not exist.")],
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="With the inspected images, or all but these.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Copy a station into one tar file, while it runs: database, images, models, users. Keep it like the station.

    Exit code: 1 when a file that should be in it was not there; `blemish station restore` makes a station of it.
    """
    from blemish.station.keeping import back_up

    with _station(folder) as store, _progress() as progress:
        made = back_up(store, target, images=images, who=_actor(), progress=progress)
    if as_json:
        _print_json({**asdict(made), "path": str(made.path), "head": str(made.head)})
    else:
        _print(str(made.path))
        _say(f"{made.n_files} files, {made.bytes} bytes, audit log up to {made.head}")
        for file in made.missing:
            _say(f"MISSING  {file}", "red")
    raise typer.Exit(1 if made.missing else 0)


def _commands(name: str, about: str, below: typer.Typer) -> typer.Typer:
    """Make a group of commands, written like those of `blemish` itself."""
    group = typer.Typer(name=name, help=about, no_args_is_help=True, rich_markup_mode=None)
    below.add_typer(group)
    return group


station = _commands("station", "Administer a station, also while it runs.", app)
user = _commands("user", "Who may log in.", station)
token = _commands("token", "Which machines may use the API.", station)


@user.command("add", short_help="Let a person in; makes the station where there is none.")
def user_add(folder: StationDir, name: UserName, role: RoleOf, password_file: PasswordFile = None) -> None:
    """Let a person in. Where there is no station yet it is made, so that the first admin can be there before it runs.

    The password is asked for, or read from a file or stdin, never given as an argument, which others could see.
    """
    from blemish.station.people import People, Role

    password = _password(password_file)
    with _station(folder, may_make=True) as store:
        added = People(store).add_user(name, password, Role(role), who=_actor())
    _print(f"{added.role:8}  {added.name}")


@user.command("password", short_help="Give a person another password.")
def user_password(folder: StationDir, name: UserName, password_file: PasswordFile = None) -> None:
    """Give a person another password; whoever is logged in as this person is logged out."""
    from blemish.station.people import People

    password = _password(password_file)
    with _station(folder) as store:
        People(store).set_password(name, password, who=_actor())


@user.command("role", short_help="Give a person another role.")
def user_role(folder: StationDir, name: UserName, role: RoleOf) -> None:
    """Give a person another role, at once also where they are logged in."""
    from blemish.station.people import People, Role

    with _station(folder) as store:
        changed = People(store).set_role(name, Role(role), who=_actor())
    _print(f"{changed.role:8}  {changed.name}")


@user.command("disable", short_help="Let a person in no longer.")
def user_disable(
    folder: StationDir,
    name: UserName,
    undo: Annotated[bool, typer.Option("--undo", help="Let the person in again.")] = False,
) -> None:
    """Let a person in no longer, and log them out. Users are never deleted, for the audit log names them."""
    from blemish.station.people import People

    with _station(folder) as store:
        People(store).disable(name, who=_actor(), disabled=not undo)


@user.command("list", short_help="Show who may log in.")
def user_list(folder: StationDir, as_json: AsJson = False) -> None:
    """Show all users with their roles."""
    from blemish.station.people import People

    with _station(folder) as store:
        users = People(store).users()
    for each in users:
        if as_json:
            _print_json({**asdict(each), "created": each.created.isoformat()})
        else:
            _print(f"{each.role:8}  {each.name}{'  disabled' if each.disabled else ''}")


@token.command("add", short_help="Let a machine in.")
def token_add(folder: StationDir, name: TokenName, role: RoleOf = _Role.OPERATOR) -> None:
    """Make a token for a machine and print it; it is stored nowhere and cannot be shown again."""
    from blemish.station.people import People, Role

    with _station(folder) as store:
        secret, _ = People(store).add_token(name, Role(role), who=_actor())
    _print(secret)
    _say("This token is shown only now. Send it as the header: Authorization: Bearer TOKEN")


@token.command("revoke", short_help="Let a machine in no longer.")
def token_revoke(folder: StationDir, name: TokenName) -> None:
    """Let a machine in no longer, for good; its name is not given again, for the audit log names it."""
    from blemish.station.people import People

    with _station(folder) as store:
        People(store).revoke_token(name, who=_actor())


@token.command("list", short_help="Show which machines may use the API.")
def token_list(folder: StationDir, as_json: AsJson = False) -> None:
    """Show all tokens with their roles, revoked ones too, without their secrets."""
    from blemish.station.people import People

    with _station(folder) as store:
        tokens = People(store).tokens()
    for each in tokens:
        if as_json:
            revoked = None if each.revoked is None else each.revoked.isoformat()
            _print_json({**asdict(each), "created": each.created.isoformat(), "revoked": revoked})
        else:
            _print(f"{each.role:8}  {each.name}{'' if each.revoked is None else '  revoked'}")


@station.command("verify", short_help="Prove that the audit log was not changed.")
def station_verify(folder: StationDir, head: Noted = None, as_json: AsJson = False) -> None:
    """Compute the chain of the audit log anew, and print its newest entry. Exit code: 0 when it is whole, 1 when not.

    Who can write the database can compute a chain anew. Note what is printed in another place, and give it back with
    --head later: that entry must still stand as it did.
    """
    from blemish.station import audit

    noted = _noted(head)
    with _station(folder) as store:
        found = audit.verify(store, noted)
    if as_json:
        _print_json({"head": str(found.head), "faults": found.faults})
    else:
        _print(str(found.head))
        for fault in found.faults:
            _say(f"BROKEN  {fault}", "red")
    raise typer.Exit(0 if found.is_whole else 1)


@station.command("check", short_help="Look at everything: database, audit log, files.")
def station_check(folder: StationDir, head: Noted = None, as_json: AsJson = False) -> None:
    """Look at database and audit log, and compare every file with its hash; nothing is changed.

    Exit code: 0 when all is whole, 1 when something is missing or changed. A file that no record names harms nothing.
    """
    from blemish.station.keeping import check

    noted = _noted(head)
    with _station(folder) as store, _progress() as progress:
        found = check(store, noted, progress=progress)
    if as_json:
        _print_json({**asdict(found), "audit": {"head": str(found.audit.head), "faults": found.audit.faults}})
    else:
        for fault in filter(None, (found.database, *found.audit.faults)):
            _print(f"BROKEN   {fault}")
        for word, files in (("MISSING", found.missing), ("CHANGED", found.changed), ("UNNAMED", found.unnamed)):
            for file in files:
                _print(f"{word}  {file}")
        _say(f"{found.n_files} files looked at, {len(found.missing)} missing, {len(found.changed)} changed.")
    raise typer.Exit(0 if found.is_whole else 1)


station.command("backup", short_help="The same as `blemish backup`.")(backup)


@station.command("restore", short_help="Make a station of a backup.")
def station_restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `blemish backup` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The station's new folder; empty, or not there.")],
) -> None:
    """Make a station of a backup, after every byte of it was checked. Everybody is logged out.

    Exit code: 1 when the audit log in it is broken; the station is restored all the same.
    """
    from blemish.station.keeping import restore

    with _progress() as progress:
        verified = restore(source, folder, who=_actor(), progress=progress)
    _print(str(folder))
    for fault in verified.faults:
        _say(f"BROKEN  {fault}", "red")
    raise typer.Exit(0 if verified.is_whole else 1)


@station.command("retention", short_help="Show or set how long what is kept.")
def station_retention(
    folder: StationDir,
    image_days: Annotated[float | None, typer.Option(help="Days after which images are removed.")] = None,
    image_gb: Annotated[
        float | None, typer.Option(help="Gigabytes that images may take together; the oldest go first.")
    ] = None,
    record_days: Annotated[
        float | None, typer.Option(help="Days after which records are removed; not before their images.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Keep everything for ever.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how long what is kept, or set it: what is given counts, what is not given is kept for ever.

    The server follows it every hour. Decisions, audit log, models and good images are never removed.
    """
    from blemish.station.keeping import Retention, retention_of, set_retention

    is_given = any(each is not None for each in (image_days, image_gb, record_days))
    if clear and is_given:
        raise SettingError("--clear keeps everything for ever; expected no days and no gigabytes with it.")
    wanted = Retention.of(image_days=image_days, image_gb=image_gb, record_days=record_days)
    with _station(folder) as store:
        if clear or is_given:
            set_retention(store, wanted, who=_actor())
        policy = retention_of(store)
    if as_json:
        _print_json(asdict(policy))
        return
    for sentence in policy.sentences():
        _print(sentence)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"blemish {blemish.__version__}")
        raise typer.Exit


class _Bars:
    """Draws one bar per stage with the time left on a terminal, a line now and then elsewhere."""

    _LINE_EVERY_S = 15.0

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars  # None where stderr is no terminal
        self._tasks: dict[str, TaskID] = {}
        self._line_at = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if self._bars is None:
            if time.monotonic() - self._line_at > self._LINE_EVERY_S:
                self._line_at = time.monotonic()
                _say(f"{stage}: {done} of {total} {note}")
            return
        if stage not in self._tasks:
            for task in self._tasks.values():  # one bar at a time: what is finished has scrolled out of interest
                self._bars.update(task, visible=False)
            self._tasks[stage] = self._bars.add_task(stage, total=total, note="")
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)


@contextmanager
def _progress() -> Iterator[_Bars]:
    if not sys.stderr.isatty():
        yield _Bars(None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(
        *columns,
        console=Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # rows on the same terminal go above the bar; those for a file stay there
    ) as bars:
        yield _Bars(bars)


@contextmanager
def _station(folder: Path, *, may_make: bool = False) -> Iterator[Store]:
    """Open a station beside its server; a server that runs is not disturbed."""
    from blemish.station.store import DATABASE, Store

    if may_make and not (folder / DATABASE).exists():
        Store(folder).close()
        _say(f"{folder} is a new station.")
    with Store(folder, serve=False) as store:
        yield store


def _actor() -> str:
    """Say who gives a command, as the audit log calls them: whoever is logged in at this machine."""
    from getpass import getuser

    try:
        return f"command:{getuser()}"
    except Exception:  # a container without a name for its user; what is raised differs between versions of Python
        return "command"


def _password(file: Path | None) -> str:
    """Ask for a password twice, or read it from the first line of a file or of stdin."""
    if file is None:
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"No password can be read from {file} ({error}); expected a line of UTF-8 text.") from error
    return text.partition("\n")[0].rstrip("\r")


def _noted(head: str | None) -> Any:
    """Read the head of an audit log as it was noted; None where none was given."""
    from blemish.station.audit import Head

    try:
        return None if head is None else Head.parse(head)
    except ValueError as error:
        raise SettingError(str(error)) from error


def _workers(cluster: str | None) -> AbstractContextManager[Workers]:
    from blemish.report.batch import this_machine

    if cluster is None:
        return nullcontext(this_machine)
    from blemish.report.cluster import connected

    return connected(cluster)


def _good_images(sources: list[Path]) -> list[Path]:
    """List good images: files that are named one by one, and those of folders and CSVs as `fit` reads them."""
    from blemish.datasets import read_good

    def is_image(source: Path) -> bool:
        return source.is_file() and source.suffix.lower() != ".csv"

    return [path for source in sources for path in ([source] if is_image(source) else read_good(source))]


def _zones(ignore: Path | None, only: Path | None) -> Mask | None:
    """Read which pixels are ignored; None where nothing was said about it."""
    from blemish.detection.zones import read_zones

    return None if ignore is None and only is None else read_zones(ignore, only)


def _require_writable(output: Path) -> None:
    """Refuse a file that cannot be written before the work starts, not after."""
    if output.is_dir():
        raise OutputError(f"{output} is a folder; expected the name of a file to write.")
    _require_folder(Path(os.path.realpath(output)).parent)  # of a link, where it leads to


def _require_folder(folder: Path) -> None:
    """Make a folder where there is none, and refuse one that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}). Choose another place with -o.") from error


def _tell_new_model(detector: blemish.Detector, output: Path, as_json: bool) -> None:
    """Tell of a model that was made just now, and first what was chosen for its images, and why."""
    if not as_json:
        for note in detector.description.notes:
            _say(note)
    _tell_model(detector, output, as_json)


def _tell_model(detector: blemish.Detector, output: Path, as_json: bool, **others: Any) -> None:
    from blemish.detection.decision import promise

    about, threshold = detector.description, detector.threshold
    if as_json:
        record = asdict(about)
        provenance = record.pop("provenance")  # the hash of every image would drown the rest
        _print_json({"path": str(output), **record, "made": provenance["made"], **others})
        return
    _print(f"{output}: {about.category}, {about.method}, threshold {threshold.value:.4g}")
    _say(promise(threshold))


def _tell_tables(tables: Iterable[Table]) -> None:
    from blemish.evaluation.tables import to_markdown

    for table in tables:
        _print(f"{table.caption}\n\n{to_markdown(table)}")


def _tell_page(page: Path, as_json: bool, **others: str) -> None:
    if as_json:
        _print_json({"report": str(page), **others})
    else:
        _say(f"Report: {page}")


def _say(message: str, colour: str | None = None) -> None:
    """Tell people something; they read stderr, and stdout is for results."""
    try:
        typer.secho(message, err=True, fg=colour)
    except BrokenPipeError:
        _end_unread(sys.stderr)


def _print_row(record: dict[str, Any]) -> None:
    if record["verdict"] == "error":
        _print(f"error      {'':>9}  {record['reason']}")  # it names the file
    else:
        _print(f"{record['verdict']:9}  {record['score']:9.4f}  {record['path']}")


def _print_change(change: dict[str, Any]) -> None:
    told = {"who": "", "why": "", **change}  # which older files do not have
    moved = f"{told['from']:.4g} -> {told['to']:.4g}"
    _print(f"{told['when']}  {told['what']:9}  {moved}  {told['who']}  {told['why']}".rstrip())


def _print_json(record: dict[str, Any]) -> None:
    _print(json.dumps(record))  # in ASCII, so that it is JSON in every encoding


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _end_unread(sys.stdout)


def _end_unread(stream: TextIO) -> NoReturn:
    """End where the reader of a stream has gone, as in `blemish ... | head`: nobody wants the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python would fail at what the stream still holds
    sys.exit(2)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main() -> None:
    """Run the command line; an error becomes one message and exit code 2, never 1, which means a defective part."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files that the terminal has no letters for
    try:
        app()
    except BlemishError as error:
        _fail(str(error))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRA:
            _fail(str(MissingExtraError.of(error)))
        _say(traceback.format_exc())
        _fail("this is a fault of Blemish, not yours. Please report it with the lines above.")


def _fail(message: str) -> NoReturn:
    _say(f"blemish: {message}", "red")
    sys.exit(2)
