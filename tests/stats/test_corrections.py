"""Adjusted p-values, against statsmodels."""

import gc

import numpy as np
import pytest
from hypothesis import given, strategies as st
from statsmodels.stats.multitest import multipletests

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(p_values)
def test_they_agree_with_statsmodels_in_the_order_given(given_values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            gc, "collect", lambda: 0
        )  # statsmodels asks for one each time: a quarter second
        for adjust, name in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
            expected = multipletests(given_values, method=name)[1]
            assert adjust(given_values) == pytest.approx(expected, abs=1e-12)


@given(p_values)
def test_adjusting_never_helps_and_keeps_the_order(given_values):
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(given_values)
        assert (adjusted >= np.array(given_values) * (1 - 1e-12)).all()
        order = np.argsort(given_values, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-15).all()


def test_one_question_needs_no_correction_and_none_has_none():
    assert list(holm([0.03])) == [0.03]
    assert list(benjamini_hochberg([])) == []


@pytest.mark.parametrize("wrong", [[0.5, float("nan")], [1.5], [-0.1]])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="p_values: holds NaN"):
        holm(wrong)
