"""Clustered means: the closed form against the matrices it comes from, and published figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import linalg
from statsmodels.regression.linear_model import OLS

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import (
    Clustered,
    cr2_difference,
    cr2_mean,
    cr2_wald,
    intraclass_correlation,
    paired_t,
)

RNG = np.random.default_rng(71)


def by_matrices(design, values, labels, contrast):
    """CR2 and Bell & McCaffrey's degrees of freedom as defined, with (I − H)^-½ of each cluster."""
    bread = np.linalg.inv(design.T @ design)
    residuals = values - design @ bread @ design.T @ values
    maker = np.eye(len(values)) - design @ bread @ design.T
    error, columns = 0.0, []
    for label in np.unique(labels):
        rows = labels == label
        adjust = np.real(linalg.inv(linalg.sqrtm(maker[np.ix_(rows, rows)])))
        weights = adjust @ design[rows] @ bread @ contrast
        error += float(weights @ residuals[rows]) ** 2
        columns.append(maker[:, rows] @ weights)
    inner = np.array(columns) @ np.array(columns).T
    return math.sqrt(error), np.trace(inner) ** 2 / (inner**2).sum()


def arms(rng, counts):
    """Rows of (value, label, is treatment); `counts` holds a row of sizes for each arm."""
    rows = []
    for arm, sizes in enumerate(counts):
        for label, size in enumerate(sizes):
            rows += [(value, label, arm) for value in rng.normal(label % 3, 1, size)]
    return np.array(rows)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.integers(3, 7).flatmap(
        lambda g: st.tuples(*[st.lists(st.integers(0, 4), min_size=g, max_size=g)] * 2)
    ),
)
def test_error_and_degrees_of_freedom_are_those_of_the_matrices(seed, counts):
    if any(np.count_nonzero(sizes) < 2 for sizes in counts):
        return
    rows = arms(np.random.default_rng(seed), counts)
    values, labels, arm = rows.T
    control, treatment = (Clustered(values[arm == k], labels[arm == k]) for k in (0, 1))
    result = cr2_difference(control, treatment)
    design = np.column_stack([np.ones(len(values)), arm])
    error, df = by_matrices(design, values, labels, np.array([0.0, 1.0]))
    assert result.estimate == pytest.approx(np.mean(treatment.values) - np.mean(control.values))
    if error > 1e-6:
        assert result.estimate / result.statistic == pytest.approx(error, rel=1e-6)
        assert result.df[0] == pytest.approx(df, rel=1e-6)


def test_one_mean_is_that_of_the_matrices_and_is_tested_against_a_claim():
    rows = arms(RNG, [(5, 1, 3, 4, 2, 2)])
    result = cr2_mean(Clustered(rows[:, 0], rows[:, 1]), claim=0.5)
    error, df = by_matrices(np.ones((17, 1)), rows[:, 0], rows[:, 1], np.ones(1))
    assert result.statistic == pytest.approx((rows[:, 0].mean() - 0.5) / error, rel=1e-9)
    assert result.df[0] == pytest.approx(df, rel=1e-9)
    assert result.n == (6,)


def test_the_design_of_imbens_and_kolesar_has_their_degrees_of_freedom():
    """Review of Economics and Statistics 98 (2016) 701-712: 3 treated of 30, each its own cluster: 2.5."""
    control, treatment = RNG.normal(size=27), RNG.normal(size=3)
    result = cr2_difference(
        Clustered(control, np.arange(27)), Clustered(treatment, np.arange(27, 30))
    )
    assert result.df[0] == pytest.approx(2.5, abs=0.05)


def test_clusters_of_one_are_hc2():
    control, treatment = RNG.normal(size=12), RNG.normal(1, 2, 9)
    labels = np.arange(21)
    result = cr2_difference(Clustered(control, labels[:12]), Clustered(treatment, labels[12:]))
    design = np.column_stack([np.ones(21), labels >= 12]).astype(float)
    fitted = OLS(np.concatenate([control, treatment]), design).fit(cov_type="HC2")
    assert result.estimate / result.statistic == pytest.approx(fitted.bse[1], rel=1e-9)


def test_balanced_repeats_are_the_paired_t_of_item_means():
    control, treatment = RNG.normal(size=(2, 15, 4)) + RNG.normal(size=(15, 1))
    items = np.repeat([f"item {k}" for k in range(15)], 4)
    result = cr2_difference(Clustered(control.ravel(), items), Clustered(treatment.ravel(), items))
    expected = paired_t(control.mean(axis=1), treatment.mean(axis=1))
    assert result.df[0] == pytest.approx(14)
    assert (result.statistic, *result.interval) == pytest.approx(
        (expected.statistic, *expected.interval)
    )


def test_the_judges_of_shrout_and_fleiss_have_their_correlation():
    """Psychological Bulletin 86 (1979) 420-428, table 2: six targets, four judges, ICC(1,1) = 0.17, −0.13 to 0.72."""
    ratings = [9, 2, 5, 8, 6, 1, 3, 2, 8, 4, 6, 8, 7, 1, 2, 6, 10, 5, 6, 9, 6, 2, 4, 7]
    result = intraclass_correlation(Clustered(ratings, np.repeat(np.arange(6), 4)))
    assert result.estimate == pytest.approx(0.17, abs=0.005)
    assert result.df == (5, 18)
    assert result.statistic == pytest.approx(11.24 / 6.26, abs=0.005)
    assert result.interval == pytest.approx((-0.13, 0.72), abs=0.005)


def test_the_correlation_within_clusters_is_found_again_and_its_interval_holds_it():
    rng, held = np.random.default_rng(1), 0
    labels = np.repeat(np.arange(50), rng.integers(1, 6, 50))
    for _ in range(200):
        values = rng.normal(0, math.sqrt(0.4), 50)[labels] + rng.normal(
            0, math.sqrt(0.6), len(labels)
        )
        low, high = intraclass_correlation(Clustered(values + 1e6, labels)).interval
        held += low <= 0.4 <= high
    assert held >= 200 * 0.95 - 3.3 * math.sqrt(200 * 0.95 * 0.05)


def test_without_repeats_nothing_is_known_within():
    for values, labels in (
        ([1.0, 2.0], [1, 2]),
        ([1.0, 2.0], [1, 1]),
        ([1.0, 1.0, 2.0], [1, 1, 2]),
        ([], []),
    ):
        result = intraclass_correlation(Clustered(values, labels))
        assert math.isnan(result.estimate)
        assert "needs two clusters" in result.notes[0]


def test_an_offset_of_1e9_costs_no_digits_that_count():
    values, items = RNG.normal(size=60), np.repeat(np.arange(20), 3)
    plain, moved = (cr2_mean(Clustered(values + by, items), claim=by) for by in (0.0, 1e9))
    assert moved.statistic == pytest.approx(plain.statistic, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "labels", "why"),
    [
        ([1.0, 2.0], [1, 1], "needs two clusters in each arm, has 1"),
        ([], [], "has 0"),
        ([1.0, 1.0, 1.0], [1, 2, 2], "do not vary"),
        ([1.0, math.inf, 2.0], [1, 2, 2], "not finite"),
    ],
)
def test_what_cannot_be_tested_says_why(values, labels, why):
    result = cr2_mean(Clustered(values, labels))
    assert any(why in note for note in result.notes)
    assert math.isnan(result.p_value)
    assert result.interval == (-math.inf, math.inf)


def test_with_every_item_once_in_every_arm_walds_test_is_hotellings():
    values, items = np.random.default_rng(6).normal(size=(3, 30)), np.arange(30)
    found = cr2_wald({str(k): Clustered(arm, items) for k, arm in enumerate(values)})
    apart = values[1:] - values[0]
    squared = 30 * apart.mean(1) @ np.linalg.solve(np.cov(apart), apart.mean(1))
    assert found.statistic == pytest.approx(squared * 28 / (2 * 29))
    assert found.df == pytest.approx((2, 28))


def test_of_two_arms_walds_test_is_that_of_the_difference():
    rng = np.random.default_rng(7)
    arms = [
        Clustered(rng.normal(size=n), rng.integers(low, low + 12, n))
        for n, low in ((40, 0), (50, 5))
    ]
    found, expected = cr2_wald(dict(zip("ab", arms, strict=True))), cr2_difference(*arms)
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.statistic == pytest.approx(expected.statistic**2)


def test_walds_test_rejects_as_often_as_it_says_with_partly_common_clusters():
    rng, rejected = np.random.default_rng(8), 0
    for _ in range(500):
        level, arms = rng.normal(0, 1, 40), {}
        for arm in range(4):
            items = np.repeat(rng.choice(40, 20, replace=False), rng.integers(1, 5, 20))
            own = (level + rng.normal(0, 0.5, 40))[items]
            arms[str(arm)] = Clustered(own + rng.normal(0, 0.5 * (1 + arm), len(items)), items)
        rejected += cr2_wald(arms).p_value < 0.05
    assert 10 <= rejected <= 42  # 5 % of 500 within 99.9 %


def test_walds_test_says_why_there_is_none():
    one, same = Clustered([1.0, 2.0], ["a", "a"]), Clustered([1.0, 1.0, 1.0], [1, 2, 3])
    assert "two clusters" in cr2_wald({"x": one, "y": same}).notes[0]
    assert "do not vary" in cr2_wald({"x": same, "y": same, "z": same}).notes[0]
    with pytest.raises(ConfigurationError, match="arms"):
        cr2_wald({"x": one})


def test_opposite_infinities_have_no_mean_and_warn_of_nothing():
    control = Clustered([math.inf, -math.inf, 1.0, 2.0], [0, 0, 1, 1])
    treatment = Clustered([1.0, 2.0, 3.0, 5.0], [2, 2, 3, 3])
    for found in (cr2_difference(control, treatment), cr2_wald({"a": control, "b": treatment})):
        assert found.notes[0] == "a value is not finite"
        assert math.isnan(found.p_value)
        assert math.isnan(found.estimate)
    never = Clustered([1.0, 2.0, 3.0, math.inf], [4, 4, 5, 5])
    assert cr2_wald({"a": treatment, "b": never}).notes[0] == "a value is not finite"


@pytest.mark.parametrize(("seed", "count"), [(0, 3), (1, 4)])
def test_the_degrees_of_freedom_of_walds_test_are_those_of_its_quadratic_forms(seed, count):
    """η = q (q + 1) / Σ var(d_st), each d_st = y'Ay a quadratic form of independent errors: var = 2 tr A²."""
    rng = np.random.default_rng(seed)
    labels = [np.repeat(rng.permutation(14)[:9], rng.integers(1, 4, 9)) for _ in range(count)]
    sampled = {str(k): Clustered(rng.normal(size=len(one)), one) for k, one in enumerate(labels)}
    found = cr2_wald(sampled)
    arm, cluster = np.repeat(np.arange(count), [*map(len, labels)]), np.concatenate(labels)
    design, contrasts = np.eye(count)[arm], np.eye(count)[1:] - np.eye(count)[0]
    bread = np.linalg.inv(design.T @ design)
    residual = np.eye(len(arm)) - design @ bread @ design.T
    scaled = power(contrasts @ bread @ contrasts.T, -0.5) @ contrasts @ bread
    forms = np.array(
        [
            scaled @ design[rows].T @ power(residual[np.ix_(rows, rows)], -0.5) @ residual[rows]
            for rows in (np.flatnonzero(cluster == one) for one in np.unique(cluster))
        ]
    )  # cluster, contrast, value
    q, total = count - 1, 0.0
    for s in range(q):
        for t in range(q):
            form = forms[:, s].T @ forms[:, t]
            total += 2 * np.square((form + form.T) / 2).sum()
    assert found.df == pytest.approx((q, q * (q + 1) / total - q + 1), rel=1e-9)


def power(matrix, exponent):
    """Of a symmetric matrix, on what it does not send to 0."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-10
    return vectors[:, kept] @ np.diag(values[kept] ** exponent) @ vectors[:, kept].T
