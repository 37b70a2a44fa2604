"""Real fits through scores and comparison: the numbers are those of the month's law."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fits import N_TRAIN, linear_fit, network_fit, panel, train
from scipy.special import logsumexp

import bayesfactor as bf
from bayesfactor.errors import ComparisonWarning, LookAheadError
from bayesfactor.quantities import month_log_likelihood

FITS = {"linear": linear_fit, "network": network_fit}


def holdout():
    """Five later months with returns, and the live one."""
    return panel().split(panel().times[N_TRAIN])[1]


@pytest.mark.parametrize("name", FITS)
def test_month_scores_are_the_log_mean_density_of_the_draws(name):
    fit = FITS[name]()
    scores = bf.month_scores(fit, holdout())
    values = month_log_likelihood(fit, holdout()).values
    want = logsumexp(values, axis=(0, 1)) - np.log(values.shape[0] * values.shape[1])
    np.testing.assert_allclose(scores["score"], want, rtol=1e-12)
    assert list(scores["time"].values) == list(holdout().times[:5].values)
    np.testing.assert_array_equal(scores["n_assets"], holdout().arrays().observed.sum(axis=1)[:5])
    assert (scores["mcse"] < 1).all()
    assert (scores["score"] > 0).all(), "decimal returns of 8% noise have densities above 1"


def test_a_comparison_of_five_months_is_inconclusive_and_says_so():
    fits = {name: fit() for name, fit in FITS.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = bf.compare(fits, holdout())
    told = [str(item.message) for item in caught if issubclass(item.category, ComparisonWarning)]
    assert any(text.startswith("INCONCLUSIVE: 5 months") for text in told), told
    assert table.attrs["verdict"] == "INCONCLUSIVE"
    assert table["prob_better"].isna().all()
    for name, fit in fits.items():
        total = float(bf.month_scores(fit, holdout())["score"].sum())
        assert table.loc[name, "elpd"] == pytest.approx(total, rel=1e-10)
    assert table["elpd"].is_monotonic_decreasing


@pytest.mark.parametrize("name", FITS)
def test_training_months_are_no_holdout(name):
    with pytest.raises(LookAheadError, match="later than every training month"):
        bf.month_scores(FITS[name](), train())
