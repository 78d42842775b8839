"""Multiple comparisons: against SciPy, published tables and examples, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.integrate import quad
from scipy.special import ndtr

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import Moments, dunnett, games_howell, hsu_mcb, tukey_hsd, welch_t
from crucible_telemetry.stats.many_to_one import ManyToOne

HALF = math.sqrt(0.5)
"""λ of arms as large as their control, under one variance."""

RNG = np.random.default_rng(31)
ARMS = {"a": RNG.normal(size=8), "b": RNG.normal(0.5, 2, 12), "c": RNG.normal(1, 1, 10)}


@pytest.mark.parametrize(("test", "equal"), [(tukey_hsd, True), (games_howell, False)])
def test_all_pairs_agree_with_scipy_the_later_minus_the_earlier(test, equal):
    expected = scipy_stats.tukey_hsd(*ARMS.values(), equal_var=equal)
    limits = expected.confidence_interval(0.9)
    found = test(ARMS, confidence=0.9)
    assert [result.arms for result in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for result, (i, j) in zip(found, ((0, 1), (0, 2), (1, 2)), strict=True):
        assert result.estimate == pytest.approx(expected.statistic[j, i], rel=1e-12)
        assert result.p_value == pytest.approx(expected.pvalue[j, i], abs=1e-9)
        assert result.interval == pytest.approx((limits.low[j, i], limits.high[j, i]), rel=1e-7)


def test_games_howell_gives_what_spss_gives():
    """SPSS's GH on these twelve values, as published with SciPy's test of `tukey_hsd`."""
    arms = {"0": [24.0, 23, 31, 51], "1": [34.0, 18, 18, 26], "2": [17.0, 68, 59, 7]}
    spss = [
        (8.25, -16.5492749527311, 33.0492749527311, 0.558733632413559),
        (-5.5, -63.6702454316458, 52.6702454316458, 0.941147750599221),
        (-13.75, -74.3174374251372, 46.8174374251372, 0.682983914946841),
    ]
    for result, (apart, low, high, p_value) in zip(games_howell(arms), spss, strict=True):
        assert result.estimate == pytest.approx(-apart)  # SPSS takes the later from the earlier
        assert result.interval == pytest.approx((-high, -low), abs=1e-5)
        assert result.p_value == pytest.approx(p_value, abs=1e-7)


@pytest.mark.parametrize("k", range(1, 10))
def test_critical_values_are_those_of_dunnetts_tables(k):
    """One-sided 95 %: Dunnett, JASA 50 (1955), table 1a; two-sided: Dunnett, Biometrics 20 (1964), table II."""
    one_sided = {
        5: (2.02, 2.44, 2.68, 2.85, 2.98, 3.08, 3.16, 3.24, 3.30),
        10: (1.81, 2.15, 2.34, 2.47, 2.56, 2.64, 2.70, 2.76, 2.81),
        20: (1.72, 2.03, 2.19, 2.30, 2.39, 2.46, 2.51, 2.56, 2.60),
    }
    two_sided = {
        5: (2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97),
        10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
        20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
    }
    for both, table in ((False, one_sided), (True, two_sided)):
        for df, row in table.items():
            law = ManyToOne((HALF,) * k, df, two_sided=both)
            assert law.critical(0.95) == pytest.approx(row[k - 1], abs=0.0051)


def test_one_comparison_is_students_t():
    law = ManyToOne((HALF,), 14, two_sided=True)
    assert law.critical(0.95) == pytest.approx(scipy_stats.t.ppf(0.975, 14), abs=1e-9)
    assert law.p_value(2.2) == pytest.approx(2 * scipy_stats.t.sf(2.2, 14), abs=1e-10)
    assert ManyToOne((HALF,), 1, two_sided=False).p_value(3.0) == pytest.approx(
        scipy_stats.t.sf(3.0, 1), abs=1e-9
    )


@pytest.mark.parametrize("df", [5, 1_000])
@pytest.mark.parametrize("shared", [0.999, 0.9999, 0.99999, 1.0])
def test_one_comparison_is_students_t_also_with_an_arm_of_next_to_no_error(shared, df):
    """The integrand is nearly a step: on one grid of 1,000 nodes the error was 4e-4 to 6e-3."""
    for two_sided in (True, False):
        law = ManyToOne((shared,), df, two_sided=two_sided)
        for c in (0.3, 1.0, 2.0, 3.0):
            expected = (2 if two_sided else 1) * scipy_stats.t.sf(c, df)
            assert law.p_value(c) == pytest.approx(expected, abs=1e-9)


FIBRES = {"control": [55, 47, 48], "1": [55, 64, 64], "2": [55, 49, 52], "3": [50, 44, 41]}
BLOOD = {
    "control": [7.40, 8.50, 7.20, 8.24, 9.84, 8.32],
    "A": [9.76, 8.80, 7.68, 9.36],
    "B": [12.80, 9.68, 12.16, 9.20, 10.55],
}


@pytest.mark.parametrize(
    ("arms", "statistics", "p_values"),
    [
        (FIBRES, (3.09073, 0.56195, -1.40488), (0.036407, 0.896539, 0.409295)),
        (BLOOD, (0.85703, 3.69375), (0.6201020, 0.0058254)),
    ],
)
def test_dunnetts_own_examples_have_the_p_values_of_r(arms, statistics, p_values):
    """Data of Dunnett (1955), sections 4 and 5; p-values by R's multcomp, which are good to about 3e-4."""
    found = dunnett(arms, control="control")
    assert [result.statistic for result in found] == pytest.approx(statistics, abs=1e-5)
    assert [result.p_value for result in found] == pytest.approx(p_values, abs=3e-4)


def test_the_distribution_is_the_double_integral_it_is_defined_by():
    t, half = 3.09073, math.sqrt(0.5)

    def given_spread(s):
        def inside(z):
            reach, shift = t * s / half, z
            return scipy_stats.norm.pdf(z) * (ndtr(reach + shift) - ndtr(shift - reach)) ** 3

        return quad(inside, -9, 9, epsabs=1e-12)[0] * scipy_stats.chi.pdf(s * math.sqrt(8), 8)

    below = quad(given_spread, 0, 8, epsabs=1e-11)[0] * math.sqrt(8)
    law = ManyToOne((HALF,) * 3, 8, two_sided=True)
    assert law.below(t) == pytest.approx(below, abs=1e-10)


def test_dunnett_reproduces_his_conclusion_about_the_fibres():
    """Dunnett (1955): with d = 2.42, one-sided, only process 1 is better: by at least 11 − 2.42 × 3.56 lb."""
    law = ManyToOne((HALF,) * 3, 8, two_sided=False)
    assert law.critical(0.95) == pytest.approx(2.42, abs=0.005)
    found = dunnett(FIBRES, control="control", alternative="greater")
    assert [result.interval[0] > 0 for result in found] == [True, False, False]
    assert found[0].interval[0] == pytest.approx(11 - 2.42 * 3.56, abs=0.03)
    assert found[0].interval[1] == math.inf
    low = dunnett(FIBRES, control="control", alternative="less")
    assert low[2].p_value < 0.5 < low[0].p_value


def test_unequal_sizes_agree_with_scipys_simulation():
    expected = scipy_stats.dunnett(ARMS["b"], ARMS["c"], control=ARMS["a"], rng=1)
    found = dunnett(ARMS, control="a")
    assert [result.p_value for result in found] == pytest.approx(list(expected.pvalue), abs=1e-3)
    limits = expected.confidence_interval(0.95)
    assert [result.interval[0] for result in found] == pytest.approx(list(limits.low), abs=5e-3)


def test_hsus_critical_value_is_dunnetts_one_sided_and_the_intervals_are_constrained():
    arms = {str(k): Moments(10, mean, 4.0) for k, mean in enumerate((0.0, 0.2, 5.0))}
    found = hsu_mcb(arms)
    reach = ManyToOne((HALF,) * 2, 27, two_sided=False).critical(0.95) * math.sqrt(4 * 0.2)
    best = found[2]
    assert best.estimate == pytest.approx(4.8)
    assert best.interval == pytest.approx((0.0, 4.8 + reach))  # surely the best
    assert found[0].interval == pytest.approx((-5.0 - reach, 0.0))  # surely not
    mirrored = hsu_mcb(
        {name: Moments(10, -arm.mean, 4.0) for name, arm in arms.items()}, best="smallest"
    )
    for one, other in zip(found, mirrored, strict=True):
        assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_hsus_intervals_hold_all_truths_at_once_as_often_as_promised():
    rng, means = np.random.default_rng(6), np.array([0.0, 0.5, 0.5, 1.0])
    truth = [mean - max(np.delete(means, k)) for k, mean in enumerate(means)]
    held = 0
    for _ in range(400):
        drawn = {str(k): rng.normal(mean, 1, 8 + 2 * k) for k, mean in enumerate(means)}
        found = hsu_mcb(drawn)
        held += all(r.interval[0] <= t <= r.interval[1] for r, t in zip(found, truth, strict=True))
    assert held >= 400 * 0.95 - 3 * math.sqrt(400 * 0.95 * 0.05)


def test_unequal_variances_make_dunnetts_law_that_of_the_estimated_correlations():
    """Hasler & Hothorn (2008): each comparison by the multivariate t of its own df, here as SciPy has it."""
    arms = {"c": Moments(30, 0.0, 1.0), "t": Moments(12, 1.1, 9.0), "u": Moments(20, 0.4, 0.5)}
    found = dunnett(arms, control="c", variances="unequal")
    shares = {name: arm.variance / arm.n for name, arm in arms.items()}
    spread = [math.sqrt(shares["c"] + shares[name]) for name in "tu"]
    together = shares["c"] / (spread[0] * spread[1])
    for result, error, name in zip(found, spread, "tu", strict=True):
        welch = welch_t(arms["c"], arms[name])
        assert result.statistic == pytest.approx(welch.statistic)
        assert result.df == pytest.approx(welch.df)
        assert result.statistic == pytest.approx(result.estimate / error)
        at = abs(result.statistic)
        law = scipy_stats.multivariate_t(
            shape=[[1, together], [together, 1]], df=result.df[0], seed=1
        )
        inside = law.cdf([at, at], lower_limit=[-at, -at], maxpts=200_000)
        assert result.p_value == pytest.approx(1 - inside, abs=2e-4)


def test_dunnett_and_hsu_hold_under_unequal_variances_only_when_told_so():
    rng, pooled, told, best = np.random.default_rng(3), 0, 0, 0
    for run in range(100):
        arms = {"c": rng.normal(0, 1, 60), "t": rng.normal(0, 3, 15), "u": rng.normal(0, 1, 60)}
        pooled += min(r.p_value for r in dunnett(arms, control="c")) < 0.05
        found = dunnett(arms, control="c", variances="unequal")
        told += min(r.p_value for r in found) < 0.05
        limits = [] if run % 4 else [r.interval for r in hsu_mcb(arms, variances="unequal")]
        best += all(low <= 0 <= high for low, high in limits)
    assert pooled > 15  # 31 in a hundred where five were promised
    assert told <= 100 * 0.05 + 3 * math.sqrt(100 * 0.05 * 0.95)
    assert best >= 100 * 0.95 - 3 * math.sqrt(100 * 0.05 * 0.95)


def test_an_arm_that_does_not_vary_is_compared_as_far_as_the_others_do():
    arms = {"c": Moments(5, 0.0, 0.0), "t": Moments(8, 1.0, 2.0), "u": Moments(5, 3.0, 0.0)}
    first, second = dunnett(arms, control="c", variances="unequal")
    alone = welch_t(arms["c"], arms["t"])
    assert first.df == alone.df
    assert alone.p_value < first.p_value < 2 * alone.p_value
    assert second.notes == ("neither arm varies",)
    assert second.interval == (-math.inf, math.inf)
    assert len(dunnett(arms, control="u", variances="unequal")) == 2


def test_what_cannot_be_compared_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="variances: 'both'"):
        dunnett(ARMS, control="a", variances="both")
    with pytest.raises(ConfigurationError, match="control: 'z' is none of a, b, c"):
        dunnett(ARMS, control="z")
    with pytest.raises(ConfigurationError, match="best: 'highest'"):
        hsu_mcb(ARMS, best="highest")
    for test in (tukey_hsd, games_howell, hsu_mcb):
        with pytest.raises(ConfigurationError, match="arms: needs two values in each arm"):
            test({"a": [1.0], "b": [1.0, 2.0]})
    flat = games_howell({"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [1.0, 3.0]})
    assert flat[0].notes == ("neither arm varies",)
    assert math.isfinite(flat[1].p_value)
