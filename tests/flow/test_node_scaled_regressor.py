"""The estimator: scikit-learn's own checks, and that it learns, repeats itself and says what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import widthwise as ww
from widthwise.errors import InputError


def problem(n: int = 120, outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(0)
    x = source.normal(size=(n, 3))
    y = np.column_stack([np.abs(x[:, 0]) + 0.5 * x[:, 1], 100 + 10 * np.maximum(x[:, 1], x[:, 2])])
    return x, y[:, 0] if outputs == 1 else y


@pytest.mark.slow
def test_scikit_learns_own_checks():
    found = check_estimator(ww.NodeScaledRegressor(width=50, steps=50), on_fail=None, on_skip=None)
    assert [check["check_name"] for check in found if check["status"] not in ("passed", "skipped")] == []
    assert sum(check["status"] == "passed" for check in found) > 40


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("gamma", [1.0, 0.2])
def test_it_predicts_what_it_has_not_seen(gamma, outputs):
    x, y = problem(outputs=outputs)
    model = ww.NodeScaledRegressor(width=300, gamma=gamma, steps=2000, random_state=0).fit(x[:80], y[:80])
    assert model.score(x[80:], y[80:]) > 0.9
    assert model.predict(x).shape == y.shape


def test_the_same_seed_gives_the_same_again_also_through_a_pickle():
    x, y = problem()
    model = ww.NodeScaledRegressor(width=50, steps=50, random_state=3).fit(x, y)
    again = clone(model).fit(x, y)
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    np.testing.assert_array_equal(model.predict(x), pickle.loads(pickle.dumps(model)).predict(x))
    other = clone(model).set_params(random_state=4).fit(x, y)
    assert np.abs(other.predict(x) - model.predict(x)).max() > 1e-3


def test_it_stands_in_a_grid_search():
    x, y = problem(60)
    search = GridSearchCV(ww.NodeScaledRegressor(width=30, steps=30, random_state=0), {"gamma": [0.2, 1.0]}, cv=3)
    assert set(search.fit(x, y).cv_results_["param_gamma"]) == {0.2, 1.0}


def test_single_precision_stays_single_and_constant_columns_do_no_harm():
    x, y = problem()
    x = np.column_stack([x, np.full(len(x), 7.0)]).astype(np.float32)
    model = ww.NodeScaledRegressor(width=50, steps=50, random_state=0).fit(x, y.astype(np.float32))
    assert model.predict(x).dtype == np.float32
    assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize(
    "wrong",
    [{"gamma": 1.5}, {"gamma": -0.1}, {"alpha": 1.0}, {"alpha": 0.0}, {"width": 0}, {"steps": 0}, {"rtol": 0.0}],
)
def test_parameters_out_of_range_are_named(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name}: got"):
        ww.NodeScaledRegressor(**{"steps": 20, "width": 20, **wrong}).fit(*problem(20))


def test_bad_data_are_refused():
    x, y = problem(20)
    broken = x.copy()
    broken[3, 1] = np.nan
    for a, b in ((broken, y), (x, y[:-1]), (x[:0], y[:0])):
        with pytest.raises(ValueError, match=r"NaN|inconsistent|0 sample"):
            ww.NodeScaledRegressor(width=20, steps=20).fit(a, b)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e-9, -1e9])
def test_a_constant_target_is_predicted_as_it_is(value):
    model = ww.NodeScaledRegressor(width=20, steps=5, random_state=0)
    y = np.column_stack([np.full(30, value), np.arange(30.0)])
    found = model.fit(np.arange(60.0).reshape(30, 2), y).predict(np.array([[3.0, 5.0], [100.0, -4.0]]))
    np.testing.assert_allclose(found[:, 0], value, rtol=1e-12)
    assert (found[:, 1] != found[0, 1]).any()


@pytest.mark.parametrize(("x", "y"), [(1e300, 1.0), (1.0, 1e200)])
def test_values_without_a_variance_are_refused(x, y):
    X = np.arange(20.0).reshape(10, 2) * x
    with pytest.raises(InputError, match=f"{'X' if x > 1 else 'y'}: got values up to"):
        ww.NodeScaledRegressor(width=20, steps=5).fit(X, np.arange(10.0) * y)
