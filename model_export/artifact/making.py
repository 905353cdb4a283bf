"""How a model was made, from its training record, as the model card says it."""

from __future__ import annotations

from typing import Any

from app.metadata import Metadata
from model_export.console.numbers import counted, in_full
from model_export.figures import classes


def described(document: Metadata) -> str:
    """List in Markdown what a model was made from, how, by which commands and with which packages."""
    record, published = document.training, document.training["published"]
    counts = _counts(record["images"])
    skipped = f", {counted(record['skipped'], 'file')} skipped" if record["skipped"] else ""
    scaled = scaling(document.recipe.value_range)
    lines = [
        f"- data: {classes.escaped(record['dataset'])} ({counts}{skipped}); fingerprint `{record['fingerprint']}`",
        f"- groups of images, {_kept(record)}: {_counts(record['groups'])}" if "groups" in record else "",
        f"- {scaled}" if scaled else "",
        f"- licence of the data: {record['licence'] or 'not given'}",
        f"- trained {record['date'][:10]}: {record['epochs']} of {counted(record['epochs_planned'], 'epoch')} in "
        f"{record['seconds']:,} s; the weights of epoch {record['best_epoch']} were kept",
        f"- {_method(record)}",
        f"- command: `{record['command']}`",
        f"- the same with every option: `{record['repeat']}`",
        f"- {_versions(record)}",
        f"- published {published['date'][:10]} by `{published['command']}`: {_versions(published)}",
    ]
    return "\n".join(line for line in lines if line)


def scaling(value_range: tuple[float, float] | None) -> str:
    """Say which pixel values become 0 and 255; an empty text if none are set."""
    if value_range is None:
        return ""
    low, high = map(in_full, value_range)
    return f"pixel values of more than 8 bits: {low} becomes 0 and {high} becomes 255"


def _kept(record: dict[str, Any]) -> str:
    return "some of which are in two splits" if record["leaks"]["group"] else "each in one split"


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in numbers.items())


def _method(record: dict[str, Any]) -> str:
    """Describe how the weights were trained."""
    weights = "from a file" if record["weights"] == "file" else record["weights"]
    pretrained = f"initial weights of the trunk: {weights}" if weights != "none" else ""
    digest = f" (SHA-256 `{record['weights_sha256']}`)" if "weights_sha256" in record else ""
    frozen = f", frozen for {counted(record['freeze_epochs'], 'epoch')}" if record["freeze_epochs"] else ""
    parts = [
        f"{record['optimizer']}, weight decay {record['weight_decay']:g}, batch {record['batch_size']}, "
        f"{record['steps_per_epoch']:,} steps per epoch; learning rate {record['learning_rate']:g}, reached after "
        f"{record['warm_up']:.0%} of the planned steps, then falling to {record['final_rate']:.0%} of it along half a "
        "cosine",
        f"augmentation {record['augmentation']}",
        f"running average of the weights {record['averaging']:g}"
        if record["averaging"]
        else "no running average of the weights",
        "rare classes weighted higher" if record["class_weights"] else "all images weighted alike",
        f"patience {counted(record['patience'], 'epoch')}",
        f"seed {record['seed']}",
        f"{pretrained}{digest}{frozen}",
    ]
    return "; ".join(part for part in parts if part)


def _versions(record: dict[str, Any]) -> str:
    return f"Python {record['python']}, " + ", ".join(
        f"{name} {version}" for name, version in record["packages"].items()
    )
