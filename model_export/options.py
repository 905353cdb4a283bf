"""The options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from app import __version__
from app.errors import InvalidUsage
from model_export import choices, readers
from model_export.choices import ARCHITECTURES, AUGMENTATIONS, OWN_TRUNKS, PRECISIONS
from model_export.console.invocation import called
from model_export.fitting.budget import Budget

_MODEL_HELP = "model.onnx, its folder, or NAME, NAME:VERSION or NAME/VERSION in the model repository"
_DATA_HELP = (
    "folder train|validation|test/<class>/* or <class>/*, a .csv table with the columns file and label, a .npz file "
    "with x and y, a folder of IDX files named as in MNIST, tfds:NAME, or 'digits' (built in)"
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong without the list of all options before it, which is longer than a small terminal."""

    commands: Mapping[str, Parser]
    """Of the whole command line, the parsers of its commands."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (all options: {self.prog} --help)\n")


class Raising(Parser):
    """Leaves it to its caller to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise InvalidUsage(message)


def parser(kind: type[Parser] = Parser) -> Parser:
    """Build the parser of the command line."""
    top = kind(prog=called(), description="Train image classifiers and publish them as verified ONNX files.")
    top.add_argument("--version", action="version", version=f"multipool {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add, name, text in (
        (_add_train, "train", "load, train, convert, verify and publish a model"),
        (_add_compare, "compare", "train several architectures with several seeds, and write a report"),
        (
            _add_publish,
            "publish",
            "publish the best weights of a training run again, after converting and verifying them",
        ),
        (_add_verify, "verify", "check a published file with the service's loader, and measure it on a data set"),
        (_add_inspect, "inspect", "print everything a published model says about itself"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        add(command)
        command.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    top.commands = commands.choices
    return top


def _add_train(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("data", metavar="DATA", nargs="?", help=_DATA_HELP)
    add(
        "--architecture",
        choices=ARCHITECTURES,
        default="regions",
        help="head of the network: what its branches pool (default: regions)",
    )
    _add_data(command)
    _add_network(command)
    _add_budget(command, "most epochs to train", epochs=Budget.epochs)
    _add_publishing(command, name="data set and architecture", output=choices.repository(), precision="float32")
    text = "for split, initial weights and augmentation (default: %(default)s)"
    add("--seed", type=readers.whole, default=Budget.seed, help=text)
    text = "stop after so many epochs without a lower validation loss; the best one is kept (default: %(default)s)"
    add("--patience", type=readers.positive, default=Budget.patience, help=text)
    add("--runs", type=readers.folder, default=Path("runs"), help="folder in which runs are stored (default: runs)")
    add("--resume", type=Path, metavar="RUN", help="continue an interrupted run after its last complete epoch")


def _add_compare(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("data", metavar="DATA", help=_DATA_HELP)
    names = "regions,separable,channel-groups,gap,flatten-dense-dropout"
    text = "comma-separated names (default: %(default)s)"
    add("--architectures", type=readers.architectures, default=names, help=text)
    add("--seeds", type=readers.positive, default=3, help="runs of each architecture, with seeds 0, 1, … (default: 3)")
    _add_data(command)
    _add_network(command)
    _add_budget(command, "epochs to train", epochs=10)
    command.set_defaults(seed=0, together=True)  # all networks learn from the same split
    add(
        "--report",
        type=readers.folder,
        help="folder of the report; an unfinished one is continued; default: a new one in comparisons/<data set>",
    )


def _add_publish(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    _add_publishing(command, name="that of the run", output=None, precision=None)


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help=_MODEL_HELP)
    text = "data set to measure it on; it may lack some classes; the training data set is split as in training"
    command.add_argument("data", nargs="?", metavar="DATA", help=text)
    text = "another model, as MODEL: measure it on the same images, and say which of the two is better"
    command.add_argument("--against", type=Path, metavar="OTHER", help=text)
    text = "comma-separated names of the classes 0, 1, … of a .npz or IDX file; default: those of the model"
    command.add_argument("--labels", type=readers.labels, help=text)
    text = "regular expression: images in whose paths it finds the same, such as a patient, are counted as one group"
    command.add_argument("--groups", type=readers.pattern, metavar="PATTERN", help=text)
    text = "write a row for each image: its class, the answer, both probabilities; .csv or .jsonl"
    command.add_argument("--output", type=readers.table, metavar="TABLE", help=text)


def _add_inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help=_MODEL_HELP)


def _add_data(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("data").add_argument
    text = "H or HxW; default: the median size of the images, at most 128x128; 32 for digits"
    add("--size", type=readers.size, help=text)
    add("--channels", type=readers.channels, help="1 to 200; default: as in arrays and multi-band files, else 3")
    text = "for images of more than 8 bits: pixel values that become 0 and 255; default: the full range of their type"
    add("--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help=text)
    add("--labels", type=readers.labels, help="comma-separated names of the classes 0, 1, … of a .npz or IDX file")
    text = "regular expression: images in whose paths it finds the same, such as a patient, go into the same split"
    add("--groups", type=readers.pattern, metavar="PATTERN", help=text)
    text = "decode once into this folder and stream from it; default: only if the data is too large for the memory"
    add("--cache", type=readers.folder, metavar="FOLDER", help=text)
    text = "stop with exit code 65 if two splits share an image, nearly the same image, or a group"
    add("--fail-on-leakage", action="store_true", help=text)


def _add_network(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("network").add_argument
    text = f"{', '.join(OWN_TRUNKS)}, or a network of keras.applications such as efficientnetv2b0 (default: batchnorm)"
    add("--trunk", type=readers.trunk, default="batchnorm", help=text)
    text = (
        "initial weights of the trunk: none (default), best.keras of an earlier run with the same trunk, or for "
        "keras.applications also imagenet (downloads) or a file without the top"
    )
    add("--weights", default="none", metavar="FROM", help=text)
    text = (
        "epochs at the beginning in which a keras.applications trunk is frozen (default: 5 with initial weights, but "
        "at most half of --epochs; otherwise 0)"
    )
    add("--freeze-epochs", type=readers.whole, help=text)


def _add_budget(command: argparse.ArgumentParser, what: str, epochs: int) -> None:
    add = command.add_argument_group("training").add_argument
    text = f"{what}; each has at least 30 steps, however few the images (default: %(default)s)"
    add("--epochs", type=readers.positive, default=epochs, help=text)
    text = "images per step (default: %(default)s)"
    add("--batch-size", type=readers.positive, default=Budget.batch_size, help=text)
    text = "peak of the schedule (default: %(default)s)"
    add("--learning-rate", type=readers.rate, default=Budget.learning_rate, help=text)
    text = "share, times the learning rate, by which AdamW shrinks all weights in each step (default: %(default)s)"
    add("--weight-decay", type=readers.decay, default=Budget.weight_decay, help=text)
    text = "random changes: none, shift, photo (also mirror) or aerial (also turn); default: photo, or shift for digits"
    add("--augmentation", choices=AUGMENTATIONS, help=text)
    text = "momentum of the running average of the weights, which is kept; 0: no average (default: %(default)s)"
    add("--averaging", type=readers.share, default=Budget.averaging, help=text)
    add("--class-weights", action="store_true", help="weight each class by its rarity in the training images")


def _add_publishing(command: argparse.ArgumentParser, name: str, output: Path | None, precision: str | None) -> None:
    """Add the options of publishing; those without a default follow the run."""
    add = command.add_argument_group("publishing").add_argument
    add("--name", type=readers.name, help=f"name of the model; default: {name}")
    text = f"model repository (default: {'MULTIPOOL_MODELS_DIR, or models' if output else 'where the run published'})"
    add("--output", type=readers.folder, default=output, help=text)
    text = f"number format of the published graph (default: {precision or 'that of the run'})"
    add("--precision", choices=PRECISIONS, default=precision, help=text)
    text = "publish even if the version that answers now has other classes or sizes, or is clearly better"
    add("--replace-anyway", action="store_true", help=text)
    add("--data-licence", default="", metavar="TEXT", help="licence of the data, for the model card")
