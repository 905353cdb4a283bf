"""Training keeps its best weights, stops when nothing gets better, and can be repeated."""

import argparse
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from app import devices, memory
from app.images import Shape
from model_export import arguments, training
from model_export.architectures import build
from model_export.console.invocation import program
from model_export.console.progress import bars
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.errors import BadData
from model_export.figures.metrics import probabilities
from model_export.fitting import callbacks, device, normalizing, optimizing
from model_export.fitting.batches import Shuffled, steps
from model_export.fitting.budget import Budget
from model_export.fitting.normalizing import MeasureStatistics
from model_export.fitting.runs import Run
from model_export.reporting import remarks

SHAPE = Shape(8, 8, 1)


def dataset(noise=40, count=32):
    """Dark and bright images, as hard to tell apart as the noise says."""
    random = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) % 2
        level = np.where(labels, 158, 98)[:, None, None, None]
        return Split(np.clip(level + random.normal(0, noise, (count, *SHAPE)), 0, 255).astype(np.uint8), labels)

    return Dataset("toy", ("dark", "bright"), SHAPE, {"train": split(count), "validation": split(16)})


def run(data, title="", **budget):
    training.seed(budget.get("seed", 0))
    network = build("regions", "plain", SHAPE, 2)
    chosen = Budget(**{"epochs": 3, "augmentation": "shift", "batch_size": 8, **budget})
    return network, training.train(network, data, chosen, title=title)


def test_it_learns():
    data = dataset()
    network, outcome = run(data)

    assert training.evaluate(network, data.splits["validation"])["accuracy"] == 1
    assert outcome.epochs == 3


@pytest.mark.parametrize("averaging", [0, 0.99])
def test_the_first_step_is_traced_once(monkeypatch, averaging):
    """Which takes a second with a small network, and half a minute with MobileNetV2; then it has all its variables."""
    traced = []
    step = keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda model, data: traced.append(model) or step(model, data))

    run(dataset(count=20), averaging=averaging)  # the last batch of an epoch is smaller

    assert len(traced) == 1


def test_a_step_computes_its_rate_once_and_ends_with_the_weights_that_keras_ends_with(monkeypatch):
    """Keras itself computes it anew for every weight that decays."""
    traced = []
    decay = keras.optimizers.schedules.CosineDecay
    rate = decay.__call__
    monkeypatch.setattr(
        decay, "__call__", lambda rates, step: traced.append(tf.executing_eagerly()) or rate(rates, step)
    )
    ours, _ = run(dataset(count=20), weight_decay=0.1)
    assert traced.count(False) == 1

    monkeypatch.setattr(optimizing, "AdamW", keras.optimizers.AdamW)
    theirs, _ = run(dataset(count=20), weight_decay=0.1)

    assert traced.count(False) > 5
    for one, other in zip(ours.model.get_weights(), theirs.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_of_the_best_epoch_are_kept():
    """Labels drawn by lot: the longer it learns them by heart, the worse it judges others."""
    data = dataset()
    random = np.random.default_rng(1)
    for split in data.splits.values():
        random.shuffle(split.labels)
    network, outcome = run(data, epochs=8, learning_rate=0.02, augmentation="none")

    losses = [row["val_loss"] for row in outcome.history]
    assert losses[-1] > min(losses) * 1.05
    assert outcome.best_epoch == 1 + int(np.argmin(losses))
    assert training.evaluate(network, data.splits["validation"])["loss"] == pytest.approx(min(losses), abs=1e-4)


def test_it_stops_when_nothing_gets_better():
    data = dataset()
    np.random.default_rng(1).shuffle(data.splits["train"].labels)
    _, outcome = run(data, epochs=40, patience=2, learning_rate=0.02, augmentation="none")

    assert outcome.epochs == outcome.best_epoch + 2 < 40


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    weights = [run(dataset(), epochs=1, seed=seed)[0].model.get_weights() for seed in (3, 3, 4)]

    for first, again in zip(weights[0], weights[1], strict=True):
        np.testing.assert_allclose(first, again, atol=1e-6)
    assert any(not np.allclose(first, other) for first, other in zip(weights[0], weights[2], strict=True))


def test_every_epoch_sees_all_images_in_another_order():
    data = dataset(count=24)
    batches = Shuffled(data.splits["train"], 8, "none", seed=0)

    assert batches.steps == 30  # a small data set is gone through several times

    def order(epoch):
        return [image.tobytes() for step in range(3) for image in batches[30 * epoch + step][0]]

    first, second = order(0), order(1)
    assert set(first) == set(second) == {image.tobytes() for image in data.splits["train"].images}
    assert first != second
    assert [image.tobytes() for image in Shuffled(data.splits["train"], 24, "none", seed=1)[0][0]] != first


def test_images_are_changed_anew_in_every_step_and_epoch_and_with_every_seed():
    image = dataset().splits["train"].images[:1]
    same = Split(np.repeat(image, 32, axis=0), np.arange(32) % 2)  # in whichever order they come

    batches = [Shuffled(same, 32, "shift", seed)[step][0] for seed in (0, 1) for step in (0, 1, 30, 31)]

    assert len({batch.tobytes() for batch in batches}) == 8


def test_an_epoch_is_as_many_steps_as_it_takes_to_see_all_images():
    assert [steps(images, 64) for images in (1, 30 * 64, 30 * 64 + 1, 31 * 64 + 1)] == [30, 30, 31, 32]


def test_the_learning_rate_rises_and_falls():
    schedule = optimizing.schedule(0.01, 1000)
    rates = [float(schedule(step)) for step in range(0, 1001, 50)]

    assert rates[1] == max(rates) == pytest.approx(0.01)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("asked", "steps", "momentum"), [(0.9, 1000, 0.9), (0.99, 1000, 0.98), (0.9, 10, 0), (0, 1000, 0)]
)
def test_the_average_of_the_weights_has_forgotten_the_first_ones_by_the_end(asked, steps, momentum):
    found = optimizing.optimizer(0.01, steps, 0.001, asked)

    assert (found.ema_momentum if found.use_ema else 0) == pytest.approx(momentum)


def test_of_several_trainings_the_time_that_is_left_is_that_of_one(capsys):
    run(dataset(), title="gap seed 0", epochs=2)

    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"gap seed 0 epoch   1 of 2: loss .*; about [\d.]+ s to go in this training", first)
    assert "to go" not in last


def test_a_training_that_goes_on_tells_what_is_left_after_its_first_epoch_and_shows_what_is_done(monkeypatch, capsys):
    """Epoch 2 is the first of this process, and each takes 100 seconds."""
    now = [0.0]
    monkeypatch.setattr(callbacks, "time", argparse.Namespace(monotonic=lambda: now[0]))
    for epochs, left in ((4, ["3 min to go", "", ""]), (2, [""])):
        with bars() as progress:
            reporter = callbacks.Reporter(progress, epochs, first=1)
            reporter.set_params({"steps": 30})
            for epoch in range(1, epochs):
                reporter.on_train_begin()  # again when a frozen trunk is fine-tuned
                reporter.on_epoch_begin(epoch)
                now[0] += 100
                reporter.on_epoch_end(epoch, dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5))
            (bar,) = progress.tasks

        assert (bar.completed, bar.total) == (30, 30 * epochs)
        assert [line.partition("; about ")[2] for line in capsys.readouterr().err.splitlines()] == left


@pytest.mark.parametrize(("seconds", "lines"), [(-1, 62), (1000, 2)])
def test_without_a_terminal_a_long_epoch_is_told_in_lines_now_and_then(monkeypatch, capsys, seconds, lines):
    monkeypatch.setattr(callbacks, "_SECONDS_BETWEEN_LINES", seconds)

    run(dataset(), epochs=2)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert re.fullmatch(
        r"epoch   1 of 2: loss \d\.\d{4}, accuracy \d\.\d{4}; validation loss .* to go", said[lines // 2 - 1]
    )
    for step, line in enumerate(said[: lines // 2 - 1], start=1):
        assert re.fullmatch(rf"epoch   1 of 2: loss \d\.\d{{4}}, accuracy \d\.\d{{4}} after {step} of 30 steps", line)


def test_what_is_validated_and_kept_is_normalized_by_the_statistics_of_its_own_weights():
    """At a high rate, the averaged weights are far from those that batch normalisation has seen in training."""
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (32, 16, 16, 1), np.uint8), np.arange(32) % 2)
    data = Dataset("toy", ("odd", "even"), Shape(16, 16, 1), {"train": split, "validation": split})
    training.seed(0)
    network = build("regions", "batchnorm", data.shape, 2)

    training.train(network, data, Budget(epochs=2, batch_size=16, learning_rate=0.02, augmentation="none"))

    kept = {layer.name: np.array(layer.moving_mean) for layer in network.normalizations}
    assert list(kept) == ["norm_1", "norm_2", "norm_3"]
    for layer in network.normalizations:
        layer.momentum = 0
    network.model(split.images, training=True)
    for layer in network.normalizations:
        deviations = (kept[layer.name] - layer.moving_mean) / np.sqrt(layer.moving_variance)
        assert np.abs(deviations).max() < 0.001


def test_statistics_of_small_batches_are_those_of_all_their_images_together(monkeypatch):
    """Large images come in small batches, within which they differ less than among all."""
    monkeypatch.setattr(memory, "_PIXELS", 4 * 16 * 16)
    random = np.random.default_rng(0)
    brightness = random.integers(0, 256, (300, 1, 1, 1), np.uint8)
    split = Split(np.broadcast_to(brightness, (300, 16, 16, 1)), np.arange(300) % 2)  # each is taken once
    training.seed(0)
    network = build("regions", "batchnorm", Shape(16, 16, 1), 2)
    measuring = MeasureStatistics(network.normalizations, split, "none", 0, batch_size=4)
    measuring.set_model(network.model)

    measuring.on_test_begin()

    first = network.normalizations[0]
    kept, first.momentum = np.array(first.moving_variance), 0
    network.model(split.images, training=True)
    np.testing.assert_allclose(kept, first.moving_variance, rtol=1e-4)


@pytest.mark.parametrize(("batch_size", "images"), [(2, 256), (16, 480), (64, 1280)])
def test_statistics_are_not_measured_on_many_more_images_than_an_epoch_learns_from(batch_size, images, monkeypatch):
    """Large images are learned from in small batches, and each of them takes long."""
    monkeypatch.setattr(memory, "_PIXELS", 32 * 16 * 16)
    sizes = []

    class Counted(Shuffled):
        def __getitem__(self, index):
            found = super().__getitem__(index)
            sizes.append(len(found[0]))
            return found

    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (40, 16, 16, 1), np.uint8), np.arange(40) % 2)
    data = Dataset("toy", ("odd", "even"), Shape(16, 16, 1), {"train": split, "validation": split})
    network = build("regions", "batchnorm", data.shape, 2)
    monkeypatch.setattr(normalizing, "Shuffled", Counted)

    training.train(network, data, Budget(epochs=1, batch_size=batch_size, augmentation="none"))

    assert sum(sizes) == images
    assert set(sizes) == {max(32, batch_size)}, "in smaller ones, what is normalised after the pools hardly differs"


@pytest.mark.parametrize(
    ("weights", "initial", "notes"),
    [
        ("none", "", 0),
        ("imagenet", ", initial weights of the trunk imagenet", 0),
        ("runs/1/best.keras", ", initial weights of the trunk runs/1/best.keras", 1),
    ],
)
def test_what_is_trained_is_told_and_what_its_trunk_may_have_seen(capsys, weights, initial, notes):
    network = build("regions", "plain", SHAPE, 2)
    asked = argparse.Namespace(architecture="regions", trunk="plain", weights=weights)

    remarks.say_network(asked, network, Run(Path("runs/2")))

    first, *rest = capsys.readouterr().err.splitlines()
    assert first == f"regions on trunk plain: {network.model.count_params():,} parameters{initial}; run runs/2"
    assert [line.startswith("note: that trunk may have learned from images that are in") for line in rest] == [
        True
    ] * notes


@pytest.mark.parametrize(
    ("losses", "frozen", "is_unfinished"),
    [
        ([3, 2, 1], 0, True),
        ([1, 2, 3], 0, False),
        ([1, 2, 3], 2, True),  # a frozen trunk is not waited for
        ([2] * 29 + [1], 0, False),
        ([3, 2, float("nan")], 0, False),
    ],
)
def test_who_publishes_a_run_with_epochs_left_is_told(capsys, losses, frozen, is_unfinished):
    """Not one that stopped because nothing got better, nor one that had all its epochs, nor one that diverged."""
    asked = argparse.Namespace(data="digits", epochs=30, patience=2, freeze_epochs=frozen)
    outcome = training.Outcome([{"loss": float(loss), "val_loss": float(loss)} for loss in losses])

    remarks.say_unfinished(asked, outcome, Run(Path("my runs/1")))

    note = f"note: the run is not finished: 3 of 30 epochs; continue with: {program()} train --resume 'my runs/1'\n"
    assert capsys.readouterr().err == (note if is_unfinished else "")


@pytest.mark.parametrize(
    ("losses", "frozen", "is_over"),
    [
        ([3, 2, 1], 0, False),
        ([1, 2], 0, False),
        ([1, 2, 3], 0, True),
        ([1, 2, 3], 2, False),  # a frozen trunk is not waited for
        ([1, 2, 3, 4], 2, True),
        ([3, 2, float("nan")], 0, True),
    ],
)
def test_a_run_that_is_gone_on_with_has_been_as_patient_as_if_it_had_not_been_interrupted(losses, frozen, is_over):
    best = callbacks.KeepBest(2, None)

    best.resume([{"loss": float(loss), "val_loss": float(loss)} for loss in losses], [], frozen)

    assert best.over == is_over


def test_where_it_trains_is_told(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    assert (device.used(), device.advice()) == ("the CPU", "")
    monkeypatch.setattr(devices, "driver_version", lambda: (12, 4))
    monkeypatch.setattr("importlib.metadata.distribution", {}.__getitem__)  # it is installed as tensorflow-cpu
    assert " -m pip install 'tensorflow[and-cuda]==" in device.advice()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert device.advice() == ""  # it is not wanted

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [argparse.Namespace(name="GPU:0")])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {"device_name": "NVIDIA H200"})
    assert (device.used(), device.advice()) == ("the GPU NVIDIA H200", "")


def test_rare_classes_count_as_much_as_others_where_that_is_asked_for():
    """Of images without a sign of their class, the network learns how often each occurs."""
    random = np.random.default_rng(0)
    labels = np.array([0] * 54 + [1] * 6)
    noise = Split(random.integers(0, 256, (60, *SHAPE), np.uint8), labels)
    data = Dataset("toy", ("often", "rarely"), SHAPE, {"train": noise, "validation": noise})

    assert list(optimizing.class_weights(noise, 2).values()) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=labels)
    )
    shares = []
    for weighed in (False, True):
        network, _ = run(data, class_weights=weighed, learning_rate=0.003)
        shares.append(probabilities(training.logits(network, noise))[:, 1].mean())
    assert shares[0] < 0.25
    assert 0.4 < shares[1] < 0.6


def test_weights_decay_as_the_command_line_says():
    """Each step shrinks them by the learning rate times the decay, beside what the gradient does."""
    given = arguments.parse(["train", "digits", "--weight-decay", "0.5"])
    assert Budget.of(given).weight_decay == 0.5

    norms = []
    for weight_decay in (0, Budget.of(given).weight_decay):
        network, _ = run(dataset(), epochs=2, weight_decay=weight_decay, learning_rate=0.01)
        assert network.model.optimizer.weight_decay == weight_decay
        norms.append(sum(float(np.square(weights).sum()) for weights in network.model.get_weights()))
    assert norms[1] < 0.9 * norms[0]


def test_a_run_that_diverges_says_so():
    with pytest.raises(BadData, match="diverged"):
        run(dataset(), learning_rate=1e30)


def test_only_what_is_no_better_than_guessing_is_warned_of(capsys):
    """Of 16 validation images, 8 are of one class: 11 may be right by chance, 12 hardly."""
    data = dataset()
    data.splits["validation"].labels[:] = [0] * 8 + [1] * 8

    for right, words in (
        (12, ""),
        (
            11,
            "on so few validation images (16), the model cannot be told from one that always names one class: the 95 % "
            "interval of its accuracy begins at 0.44, and that one has 0.50; it needs",
        ),
        (8, "the model is no better than always naming one class (0.50); it needs"),
    ):
        remarks.say_if_guessing({"validation": {"accuracy": right / 16, "images": 16}}, data)
        said = capsys.readouterr().err
        assert words in said
        assert bool(said) == bool(words)


@pytest.mark.parametrize(("planned", "early"), [(3, False), (4, True)])
def test_training_that_stopped_early_is_told_from_one_that_took_all_its_epochs(planned, early, capsys):
    history = [{"loss": loss, "val_loss": loss, "seconds": 2.0} for loss in (0.5, 0.3, 0.4)]

    remarks.say_outcome(training.Outcome(history), Budget(epochs=planned))

    said = capsys.readouterr().err
    assert "trained 3 epochs in 6 s" in said
    assert "epoch 2" in said
    assert ("early" in said) == early
