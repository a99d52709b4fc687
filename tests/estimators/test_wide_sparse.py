"""The estimators: scikit-learn's own checks, real tables, and every argument's promise."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import check_estimator

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.estimators import network
from widthwise.estimators.masked import MaskedNet


def problem(n: int = 200, outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(0)
    x = source.normal(size=(n, 4))
    y = np.column_stack([np.abs(x[:, 0]) + 0.5 * x[:, 1], 100 + 10 * np.maximum(x[:, 1], x[:, 2])])
    return x, y[:, 0] if outputs == 1 else y


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ww.WideSparseClassifier, ww.WideSparseRegressor])
def test_scikit_learns_own_checks_with_everything_on(kind):
    settings = {"weights": 300, "random_state": 0, "early_stopping": True, "missing": "mean", "last_layer": "dense"}
    others = "repeated examples and examples of weight two are divided otherwise into training and validation"
    found = check_estimator(
        kind(**settings),
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": others},
        on_fail=None,
        on_skip=None,
    )
    assert [c["check_name"] for c in found if c["status"] not in ("passed", "skipped", "xfail")] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ww.WideSparseClassifier, ww.WideSparseRegressor])
def test_scikit_learns_own_checks(kind):
    found = check_estimator(kind(weights=300, random_state=0), on_fail=None, on_skip=None)
    assert [c["check_name"] for c in found if c["status"] not in ("passed", "skipped")] == []
    assert sum(c["status"] == "passed" for c in found) > 40


@pytest.mark.parametrize(
    ("file", "target", "least"),
    [
        ("concrete.csv", "compressive_strength_mpa", 0.85),
        ("energy-efficiency.csv", "heating_load", 0.97),
        ("airfoil-self-noise.csv", "scaled_sound_pressure_level_db", 0.75),
    ],
)
def test_real_tables(shared_data: Path, file: str, target: str, least: float):
    table = np.genfromtxt(shared_data / "uci" / file, delimiter=",", names=True)
    others = [name for name in table.dtype.names if name not in (target, "cooling_load")]
    x, y = np.column_stack([table[name] for name in others]), table[target]
    train, test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
    model = ww.WideSparseRegressor(weights=500, random_state=0).fit(train, y_train)
    assert model.score(test, y_test) > least
    assert model.score(test, y_test) > LinearRegression().fit(train, y_train).score(test, y_test) + 0.05


def test_images_and_two_classes():
    x, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(x, y, random_state=0)
    model = ww.WideSparseClassifier(weights=600, max_iter=30, random_state=0).fit(train, y_train)
    assert model.score(test, y_test) > 0.93
    np.testing.assert_allclose(model.predict_proba(test).sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.classes_[model.predict_proba(test).argmax(1)], model.predict(test))
    x, y = load_breast_cancer(return_X_y=True)
    two = ww.WideSparseClassifier(weights=200, max_iter=30, random_state=0).fit(x, np.where(y == 1, "good", "bad"))
    assert two.score(x, np.where(y == 1, "good", "bad")) > 0.96
    np.testing.assert_array_equal(np.where(two.decision_function(x) > 0, "good", "bad"), two.predict(x))


@pytest.mark.parametrize("last_layer", ["dense", "balanced"])
@pytest.mark.parametrize(("depth", "width"), [(1, None), (1, 40), (2, 20), (3, None)])
def test_the_budget_is_met_exactly(last_layer, depth, width):
    x, y = load_iris(return_X_y=True)
    settings = {"weights": 150, "depth": depth, "width": width, "last_layer": last_layer, "max_iter": 2}
    model = ww.WideSparseClassifier(**settings, random_state=0).fit(x, y)
    kept = [p for p in model.model_.parameters() if p.dim() > 1]
    assert sum(int((p != 0).sum()) for p in kept) == 150 == model.n_weights_
    assert model.width_ == kept[0].shape[0]
    assert width is None or model.width_ == width
    assert len(kept) == depth + 1
    if last_layer == "dense":
        assert bool((kept[-1] != 0).all())


def test_by_default_the_width_is_the_predicted_one():
    x, y = problem()
    for depth in (1, 2):
        model = ww.WideSparseRegressor(weights=300, depth=depth, max_iter=1).fit(x, y)
        scaled = torch.from_numpy((x - x.mean(0)) / x.std(0))
        choice = ww.best_width(4, 300, 1, scaled, "condition", "balanced", depth=depth, draws=3)
        assert model.width_ == choice.width
        assert [c.width // choice.candidates[0].width for c in choice.candidates][:3] == [1, 2, 4]


def test_tensors_that_require_a_gradient_are_data_like_any():
    x, y = problem(40)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(x))
    settings = {"weights": 40, "max_iter": 2, "random_state": 0}
    expected = ww.WideSparseRegressor(**settings).fit(x, y, weights)
    tensors = [torch.tensor(each, requires_grad=True) for each in (x, y, weights)]
    found = ww.WideSparseRegressor(**settings).fit(*tensors)
    np.testing.assert_array_equal(found.predict(tensors[0]), expected.predict(x))


@pytest.mark.parametrize("flag", ["verbose", "early_stopping"])
def test_a_word_is_no_switch(flag):
    with pytest.raises(InputTypeError, match=f"{flag}: got 'no' of type str, allowed is True or False"):
        ww.WideSparseRegressor(40, **{flag: "no"}).fit(*problem(20))


def test_a_huge_budget_makes_a_dense_network_at_once():
    x, y = problem(20)
    model = ww.WideSparseRegressor(weights=1_000_000, max_iter=1).fit(x, y)
    assert model.width_ == 200_000
    assert np.isfinite(model.predict(x)).all()


def test_native_and_masked_networks_learn_the_same(monkeypatch):
    x, y = problem(150)
    settings = {"weights": 120, "depth": 2, "width": 16, "max_iter": 5, "random_state": 0}
    weights = np.random.default_rng(1).uniform(0.5, 2, len(x))
    native = ww.WideSparseRegressor(**settings).fit(x, y, weights)
    monkeypatch.setattr(network, "SparseFamily", refuse)
    masked = ww.WideSparseRegressor(**settings).fit(x, y, weights)
    assert isinstance(masked._engine, MaskedNet)
    assert not isinstance(native._engine, MaskedNet)
    np.testing.assert_allclose(native.predict(x), masked.predict(x), rtol=1e-7)
    np.testing.assert_allclose(native.loss_curve_, masked.loss_curve_, rtol=1e-7)
    dead = [int((p == 0).sum()) for p in masked.model_.parameters() if p.dim() > 1]
    assert sum(dead) == 16 * (4 + 16 + 1) - 120


def refuse(*_: object) -> None:
    raise InputError("no kernels")


def test_other_activations_train_too():
    x, y = problem()
    model = ww.WideSparseRegressor(weights=200, activation="tanh", max_iter=300, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.75
    again = pickle.loads(pickle.dumps(model)).partial_fit(x, y)
    assert again.loss_curve_[-1] < 2 * model.loss_curve_[-1] + 0.1


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_same_seed_gives_the_same_again_also_through_a_pickle(outputs):
    x, y = problem(outputs=outputs)
    model = ww.WideSparseRegressor(weights=100, max_iter=3, random_state=3).fit(x, y)
    before = torch.get_num_threads()
    again = clone(model).set_params(n_jobs=2).fit(x, y)
    assert torch.get_num_threads() == before
    assert model.predict(x).shape == y.shape
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(x), copy.predict(x))
    np.testing.assert_array_equal(model.partial_fit(x, y).predict(x), copy.partial_fit(x, y).predict(x))
    other = clone(model).set_params(random_state=4).fit(x, y)
    assert np.abs(other.predict(x) - model.predict(x)).max() > 1e-3


def test_missing_values():
    x, y = problem(400)
    holes = np.random.default_rng(0).random(x.shape) < 0.1
    missing = np.where(holes, np.nan, x)
    with pytest.raises(ValueError, match="NaN"):
        ww.WideSparseRegressor(weights=100).fit(missing, y)
    with pytest.raises(InputError, match="missing: got 'median', allowed are error, mean"):
        ww.WideSparseRegressor(weights=100, missing="median").fit(missing, y)
    settings = {"weights": 100, "missing": "mean", "max_iter": 20, "random_state": 0}
    model = ww.WideSparseRegressor(**settings).fit(missing, y)
    filled = np.where(holes, np.nanmean(missing, 0), x)
    assert np.isfinite(model.predict(missing)).all()
    np.testing.assert_allclose(model.predict(missing), model.predict(filled), rtol=1e-6)
    assert 0.4 < model.score(missing, y) < model.fit(x, y).score(x, y)
    empty = np.column_stack([missing, np.full(len(x), np.nan)])
    with pytest.warns(UserWarning, match=rf"X: features \[{x.shape[1]}\] have no value .* leave them out") as said:
        late = ww.WideSparseRegressor(**settings).fit(empty, y)
    assert said[0].filename == __file__
    assert np.isfinite(late.predict(empty)).all()
    filled = np.column_stack([missing, np.full(len(x), 3.0)])
    np.testing.assert_array_equal(late.predict(empty), late.predict(filled))
    with pytest.raises(ValueError, match="infinity"):
        ww.WideSparseRegressor(**settings).fit(np.where(holes, np.inf, x), y)


def test_examples_without_weight_do_not_count():
    x, y = problem(300)
    wrong = np.where(np.arange(300) < 150, y, -50.0)
    weights = (np.arange(300) < 150).astype(float)
    settings = {"weights": 100, "max_iter": 60, "random_state": 0}
    model = ww.WideSparseRegressor(**settings).fit(x, wrong, sample_weight=weights)
    assert model.score(x, y) > 0.6
    assert ww.WideSparseRegressor(**settings).fit(x, wrong).score(x, y) < 0


@pytest.mark.parametrize("weights", [np.zeros(30), np.full(30, -1.0), np.ones(29), np.full(30, np.nan)])
def test_weights_that_are_none_are_refused(weights):
    x, y = problem(30)
    with pytest.raises(ValueError, match="weight"):
        ww.WideSparseRegressor(weights=50).fit(x, y, sample_weight=weights)


def test_a_constant_target_is_predicted_exactly_and_a_huge_one_refused():
    x, y = problem(30, outputs=2)
    y[:, 0] = 1e7
    model = ww.WideSparseRegressor(weights=60, max_iter=2).fit(x, y)
    np.testing.assert_array_equal(model.predict(x)[:, 0], 1e7)
    with pytest.raises(InputError, match="y: got values up to"):
        model.fit(x, y * 1e300)


def test_early_stopping_keeps_the_best_epoch():
    x, y = problem(120)
    noisy = y + np.random.default_rng(0).normal(size=len(y))
    model = ww.WideSparseRegressor(
        weights=600, max_iter=400, early_stopping=True, validation_fraction=0.3, n_iter_no_change=15, random_state=0
    ).fit(x, noisy)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_curve_) < 400
    assert model.n_iter_ >= np.argmin(model.validation_curve_) + 1
    without = clone(model).set_params(early_stopping=False).fit(x, noisy)
    assert without.n_iter_ == 400
    fresh, y_fresh = problem(1000)
    assert model.score(fresh[200:], y_fresh[200:]) > without.score(fresh[200:], y_fresh[200:])


def test_partial_fit_learns_from_a_stream():
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    model = ww.WideSparseClassifier(weights=100, random_state=0)
    with pytest.raises(InputError, match="classes: got None"):
        model.partial_fit(x, y)
    for part in np.array_split(np.tile(order, 60), 90):
        model.partial_fit(x[part], y[part], classes=[0, 1, 2])
    assert model.score(x, y) > 0.93
    assert model.n_iter_ == 90
    with pytest.raises(InputError, match="classes: got"):
        model.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(InputError, match="none of the classes"):
        model.partial_fit(x, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(x[:, :2], y)


@pytest.mark.parametrize("verbose", [True, 2])
def test_a_bar_is_shown_and_leaves_no_trace(capsys, verbose):
    x, y = problem(50)
    ww.WideSparseRegressor(weights=50, max_iter=2, verbose=verbose).fit(x, y)
    assert len(capsys.readouterr().out.splitlines()) <= 2


def test_it_stands_in_a_grid_search():
    x, y = problem(90)
    search = GridSearchCV(ww.WideSparseRegressor(max_iter=2, random_state=0), {"weights": [50, 100]}, cv=3)
    assert set(search.fit(x, y).cv_results_["param_weights"]) == {50, 100}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": 0}, "weights"),
        ({"weights": 1}, "weights"),
        ({"weights": 5, "last_layer": "dense", "width": 5}, "weights: got 5, allowed at these sizes"),
        ({"weights": 2.5}, "weights"),
        ({"width": 3}, "width: got 3, which holds 15 weights"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"activation": "nonsense"}, "activation"),
        ({"last_layer": "thin"}, "last_layer"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction"),
        ({"validation_fraction": 7}, "validation_fraction: got 7"),
        ({"early_stopping": "yes"}, "early_stopping: got 'yes' of type str, allowed is True or False"),
        ({"weights": 10**12}, r"weights: got 10{12}, whose training takes .* GiB are free; allowed are smaller"),
        ({"weights": 10**400, "depth": 2}, r"weights: got about 2\*\*1329, allowed is .* below 2\*\*63"),
        ({"width": 10**11}, "width: got 10{11}, whose training takes"),
        ({"n_iter_no_change": 0}, "n_iter_no_change"),
        ({"tol": -1.0}, "tol"),
        ({"missing": "median"}, "missing"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_what_is_not_allowed_is_named(settings, message):
    x, y = problem(30)
    with pytest.raises((InputError, TypeError), match=message):
        ww.WideSparseRegressor(**settings).fit(x, y)


def test_one_class_is_refused():
    x, _ = problem(30)
    with pytest.raises(InputError, match="1 class"):
        ww.WideSparseClassifier().fit(x, np.zeros(30, int))
