"""A run folder can be gone on from: an interrupt costs at most one epoch, and the answer is the same."""

import argparse
import contextlib
import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from app.errors import MissingInput
from model_export import training
from model_export.__main__ import main
from model_export.architectures import build
from model_export.arguments import parse
from model_export.errors import BadData
from model_export.fitting.budget import Budget
from model_export.fitting.runs import Run
from model_export.networks import trunks
from model_export.reporting import remarks
from tests.model_export.test_training import SHAPE, dataset


def arguments(**changes):
    return argparse.Namespace(**{"data": "toy", "size": (8, 8), "value_range": None, "json": True, **changes})


def network(architecture="regions"):
    training.seed(0)
    return build(architecture, "plain", SHAPE, 2)


class Interrupt(keras.callbacks.Callback):
    """Press Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
        self._now = epoch == self._epoch

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        if self._now and batch == 5:
            raise KeyboardInterrupt


class Crash(keras.callbacks.Callback):
    """Stop when an epoch has been validated, before its figures are written."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
        self._now = epoch == self._epoch

    def on_test_end(self, logs=None):  # noqa: ARG002
        if self._now:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("architecture", "averaging"), [("regions", 0.0), ("regions", 0.9), ("flatten-dense-dropout", 0.9)]
)
def test_a_resumed_run_ends_like_one_that_was_not_interrupted(tmp_path, architecture, averaging):
    data = dataset()
    budget = Budget(epochs=3, batch_size=8, augmentation="shift", averaging=averaging)
    whole = network(architecture)
    expected = training.train(whole, data, budget)
    run = Run.create(tmp_path, "toy", arguments())
    with pytest.raises(KeyboardInterrupt):
        training.train(network(architecture), data, budget, run, callbacks=[Interrupt(1)])
    assert len(run.history()) == 1

    resumed = network(architecture)
    outcome = training.train(resumed, data, budget, run)

    assert [row["epoch"] for row in outcome.history] == [1, 2, 3]
    for key in ("loss", "val_loss", "learning_rate"):
        found, wanted = ([row[key] for row in each.history] for each in (outcome, expected))
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_crash_after_validation_leaves_the_best_weights_of_the_finished_epochs(tmp_path):
    """What is published from such a run names the epoch that its weights are of."""
    data, budget = dataset(), Budget(epochs=4, batch_size=8, augmentation="none")
    run = Run.create(tmp_path, "toy", arguments())
    with pytest.raises(KeyboardInterrupt):
        training.train(network(), data, budget, run, callbacks=[Crash(2)])

    recalled = network()
    outcome = training.recall(recalled, run)

    assert outcome.epochs == outcome.best_epoch == 2
    loss = training.evaluate(recalled, data.splits["validation"])["loss"]
    assert loss == pytest.approx(outcome.history[1]["val_loss"], abs=1e-5)
    resumed = network()
    assert training.train(resumed, data, budget, run).best_epoch == 4
    recalled = network()
    training.recall(recalled, run)
    for one, other in zip(resumed.model.get_weights(), recalled.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_crash_between_two_steps_of_saving_an_epoch_leaves_one_state_once_the_run_goes_on(tmp_path, monkeypatch):
    data, budget = dataset(), Budget(epochs=3, batch_size=8, augmentation="none")
    run = Run.create(tmp_path, "toy", arguments())
    with monkeypatch.context() as crashing:
        crashing.setattr(Run, "_settle", lambda _, epochs: press_ctrl_c() if epochs == 2 else None)
        with pytest.raises(KeyboardInterrupt):
            training.train(network(), data, budget, run)
    assert len(list(run.folder.glob("epoch-*.keras"))) == 2

    with run.locked():
        outcome = training.train(network(), data, budget, run)

    assert outcome.epochs == 3
    assert [path.name for path in run.folder.glob("epoch-*.keras")] == ["epoch-0003.keras"]


def test_the_best_weights_of_an_epoch_that_did_not_finish_are_gone_once_the_run_goes_on(tmp_path):
    """Else they would be taken for its best when it is trained again, and is worse."""
    run = Run.create(tmp_path, "toy", arguments())
    image = keras.Input((2,))
    for epoch in (1, 2):
        run.save_best(keras.Model(image, image), epoch)
        if epoch == 1:
            run.save_epoch(keras.Model(image, image), [{"epoch": 1, "val_loss": 0.5}])

    with run.locked():
        left = sorted(path.name for path in run.folder.glob("*.keras"))

    assert left == ["best.keras", "epoch-0001.keras"]


def press_ctrl_c():
    raise KeyboardInterrupt


def test_without_a_finished_epoch_there_is_nothing_to_publish(tmp_path, capsys):
    run = Run.create(tmp_path, "toy", arguments())
    with pytest.raises(KeyboardInterrupt):
        training.train(network(), dataset(), Budget(epochs=2, batch_size=8), run, callbacks=[Crash(0)])

    assert main(["publish", str(run.folder)]) == 66
    assert "no epoch of it has finished; train it with --resume" in capsys.readouterr().err


def test_two_trainings_never_share_a_run(tmp_path, capsys):
    asked = parse(["train", "no-such-data"])
    asked.fingerprint, asked.surroundings = "", {}
    run = Run.create(tmp_path, "toy", asked)

    with run.locked():
        assert main(["train", "--resume", str(run.folder)]) == 1
    assert f"another process is training in {run.folder}; wait until it ends" in capsys.readouterr().err
    assert main(["train", "--resume", str(run.folder)]) == 66
    assert "no-such-data does not exist" in capsys.readouterr().err


def test_what_is_published_names_the_weights_that_were_read_though_the_run_goes_on(tmp_path):
    run = Run.create(tmp_path, "toy", arguments())
    trained = network().model
    history = [{"epoch": epoch, "val_loss": 1 / epoch} for epoch in (1, 2)]
    run.save_best(trained, 1)
    run.save_epoch(trained, history[:1])
    before = hashlib.sha256((run.folder / "best.keras").read_bytes()).hexdigest()

    outcome = training.recall(network(), run)
    trained.set_weights([weight + 1 for weight in trained.get_weights()])
    run.save_best(trained, 2)
    run.save_epoch(trained, history)

    assert (outcome.best_epoch, outcome.checkpoint) == (1, before)
    assert run.digest() != before


def test_an_epoch_that_finishes_while_the_weights_are_read_counts(tmp_path, monkeypatch):
    """Else the digest would be that of other weights than those that are published."""
    run = Run.create(tmp_path, "toy", arguments())
    trained, read = network().model, Run.load
    history = [{"epoch": epoch, "val_loss": 1 / epoch} for epoch in (1, 2)]
    run.save_best(trained, 1)
    run.save_epoch(trained, history[:1])

    def slowly(path, **options):
        found = read(path, **options)
        if len(run.history()) == 1:
            trained.set_weights([weight + 1 for weight in trained.get_weights()])
            run.save_best(trained, 2)
            run.save_epoch(trained, history)
        return found

    monkeypatch.setattr(Run, "load", staticmethod(slowly))
    recalled = network()
    outcome = training.recall(recalled, run)

    assert (outcome.epochs, outcome.checkpoint) == (2, run.digest())
    for one, other in zip(trained.get_weights(), recalled.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_figures_of_an_epoch_are_read_as_they_were_written(tmp_path):
    """Losses that differ in the seventh digit still say which epoch is the best."""
    run = Run.create(tmp_path, "toy", arguments())
    image = keras.Input((2,))
    losses = [0.69314718, 0.69314714, 0.69314716]
    history = [{"epoch": number, "seconds": 0.1, "val_loss": loss} for number, loss in enumerate(losses, start=1)]

    run.save_epoch(keras.Model(image, image), history)

    assert run.history() == history
    assert (run.folder / "results.csv").read_text().splitlines()[1] == "1,0.1,0.69314718"


class Diverge(keras.callbacks.Callback):
    """Let the weights become numbers no longer."""

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
        if epoch == 1:
            self.model.set_weights([weight * np.nan for weight in self.model.get_weights()])


@pytest.mark.parametrize("frozen", [0, 3])
def test_a_run_that_diverges_late_keeps_its_best_weights_and_is_not_gone_on_with(tmp_path, capsys, frozen):
    data, budget = dataset(), Budget(epochs=6, freeze_epochs=frozen, batch_size=8, augmentation="none")
    run = Run.create(tmp_path, "toy", arguments())

    outcome = training.train(network(), data, budget, run, callbacks=[Diverge()])
    remarks.say_outcome(outcome, budget)

    assert (outcome.epochs, outcome.best_epoch) == (2, 1)
    said = capsys.readouterr().err
    assert "diverged in epoch 2" in said
    assert "stopped early" not in said
    assert training.train(network(), data, budget, run).epochs == 2
    recalled = training.recall(network(), run)
    assert (recalled.epochs, recalled.best_epoch, recalled.diverged) == (2, 1, True)


def test_a_run_that_diverged_at_once_says_so_again(tmp_path):
    (tmp_path / "results.csv").write_text("epoch,val_loss\n1,nan\n")

    with pytest.raises(BadData, match=r"has no best\.keras, although 1 epoch has finished: training diverged"):
        Run(tmp_path).best()


def test_a_finished_run_is_not_trained_again(tmp_path):
    data, budget = dataset(), Budget(epochs=2, batch_size=8, augmentation="none")
    run = Run.create(tmp_path, "toy", arguments())
    first = network()
    training.train(first, data, budget, run)

    second = network()
    outcome = training.train(second, data, budget, run, callbacks=[Interrupt(0)])

    assert outcome.epochs == 2
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "args.yaml",
        "best.keras",
        "epoch-0002.keras",
        "results.csv",
    ]
    weights, state = ((run.folder / name).stat().st_size for name in ("best.keras", "epoch-0002.keras"))
    assert weights < state / 2  # which has two more numbers and an average for each weight


def small(include_top, weights, input_shape):  # noqa: ARG001
    """Stand in for a network of ``keras.applications``, of which even the smallest takes long to train."""
    image = keras.Input(input_shape)
    features = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=4, padding="same")(image))
    return keras.Model(image, layers.ReLU()(layers.Dropout(0.1)(features)))


def preprocess_input(image):
    """Scale the input as the stand-in expects it."""
    return image / 255


def test_a_frozen_trunk_is_left_as_it_is_and_then_fine_tuned(tmp_path, monkeypatch):
    monkeypatch.setattr(trunks, "applications", lambda: {"small": small})
    data = dataset()
    source = build("gap", "small", SHAPE, 2)
    source.trunk.save_weights(tmp_path / "trunk.weights.h5")
    built = build("gap", "small", SHAPE, 2, str(tmp_path / "trunk.weights.h5"))
    before = [weight.copy() for weight in built.trunk.get_weights()]
    for one, other in zip(before, source.trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    budget = Budget(epochs=1, freeze_epochs=1, batch_size=16, augmentation="none")

    training.train(built, data, budget)
    frozen = built.trunk.get_weights()
    training.train(built, data, Budget(epochs=1, batch_size=16, augmentation="none", keep="last"))

    for one, other in zip(before, frozen, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(a, b) for a, b in zip(frozen, built.trunk.get_weights(), strict=True))


def test_runs_are_numbered_and_say_what_they_were_asked_for(tmp_path):
    asked = {"value_range": (0, 4000), "labels": ("lake", "Fluß"), "cache": Path("cache"), "output": Path("models")}
    runs = [Run.create(tmp_path, "toy", arguments(**asked)) for _ in range(2)]

    assert [run.folder.name for run in runs] == ["1", "2"]
    kept = vars(Run.open(runs[1].folder).arguments())
    assert kept == {"data": "toy", "size": (8, 8), **asked, "resume": runs[1].folder}


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.create(tmp_path, "toy", arguments()), range(40)))

    assert sorted(int(run.folder.name) for run in runs) == list(range(1, 41))


def test_what_is_no_run(tmp_path):
    with pytest.raises(MissingInput, match="not the folder of a training run"):
        Run.open(tmp_path)
    for number in (2, 10):
        Run.create(tmp_path, "toy", arguments()).folder.rename(tmp_path / "toy" / str(number))
    for no_run in ("toy", "toy/3"):
        with pytest.raises(MissingInput, match=r"name one of [^ ]*/toy/2, [^ ]*/toy/10$"):
            Run.open(tmp_path / no_run)
    Run.create(tmp_path, "other", arguments())
    for no_run in ("too", "too/3"):
        with pytest.raises(MissingInput, match=r"name one of [^ ]*/other/1, [^ ]*/toy/2, [^ ]*/toy/10$"):
            Run.open(tmp_path / no_run)
    for _ in range(12):
        Run.create(tmp_path, "many", arguments())
    with pytest.raises(MissingInput, match=r"name one of [^ ]*/many/1, ([^ ]*/many/\d, ){8}[^ ]*/many/10$"):
        Run.open(tmp_path / "many")
    for damaged in (b"{", b"", b"[data, toy]", b"data: \xff", b"seed: !!int ''", b"seed: !!timestamp now", b"[" * 999):
        (tmp_path / "args.yaml").write_bytes(damaged)
        with pytest.raises(BadData, match=r"args\.yaml cannot be read: .*; restore it, or train again"):
            Run.open(tmp_path).arguments()
    with pytest.raises(MissingInput, match="no epoch of it has finished"):
        Run.open(tmp_path).best()


def test_folders_that_vanish_while_runs_are_looked_for_are_passed_over(tmp_path, monkeypatch):
    """Those beside a folder that is no run may be anyone's, who removes them."""
    Run.create(tmp_path, "toy", arguments())
    scan = os.scandir

    def vanish(path):
        found = list(scan(path))
        if Path(path) == tmp_path / "too":
            (tmp_path / "too" / "gone").rmdir()
        return contextlib.nullcontext(iter(found))

    (tmp_path / "too" / "gone").mkdir(parents=True)
    monkeypatch.setattr(os, "scandir", vanish)

    with pytest.raises(MissingInput, match=r"name one of [^ ]*/toy/1$"):
        Run.open(tmp_path / "too")


def test_a_disk_that_fills_up_leaves_the_last_epoch_whole(tmp_path, monkeypatch):
    """Between any two writes the folder can be gone on from."""
    data, budget = dataset(), Budget(epochs=3, batch_size=8, augmentation="none")
    run = Run.create(tmp_path, "toy", arguments())
    save, calls = keras.Model.save, []

    def full(model, path, **options):
        save(model, path, **options)
        calls.append(path)
        if len(calls) == 4:
            path.write_bytes(path.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(OSError, match="No space left"):
        training.train(network(), data, budget, run)
    monkeypatch.undo()

    assert len(run.history()) == 1
    assert training.train(network(), data, budget, run).epochs == 3


def test_damaged_files_of_a_run_are_named(tmp_path):
    for rows in ("1\n", "1,x\n", "1,2,3\n"):
        (tmp_path / "results.csv").write_text(f"epoch,val_loss\n{rows}")
        with pytest.raises(BadData, match=r"results\.csv cannot be read"):
            Run(tmp_path).history()
    (tmp_path / "results.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(BadData, match="no column 'val_loss'"):
        Run(tmp_path).history()
    (tmp_path / "results.csv").write_text("epoch,val_loss\n1.0,0.5\n")  # saved again by a spreadsheet
    with pytest.raises(BadData, match=r"epoch-0001\.keras is missing; this run cannot be resumed"):
        Run(tmp_path).last_state()


@pytest.mark.parametrize("damage", ["other", "half", "changed"])
def test_damaged_weights_of_a_run_are_named(tmp_path, damage):
    (tmp_path / "results.csv").write_text("epoch,val_loss\n1,0.5\n")
    network().model.save(tmp_path / "best.keras")
    whole = (tmp_path / "best.keras").read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    (tmp_path / "best.keras").write_bytes({"other": b"garbage", "half": whole[:middle], "changed": changed}[damage])

    with pytest.raises(BadData, match=r"best\.keras is damaged .*; train again"):
        training.recall(network(), Run(tmp_path))
