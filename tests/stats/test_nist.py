"""NIST's Statistical Reference Datasets: certified values, to the digits double precision allows.

Observed sets are in nist_strd.json; the generated ones (NumAcc, SmLs) are made here by NIST's own rule and
certified by exact arithmetic. PiDigits is made too: NIST's file has one misprint.
"""

import json
import math
import sys
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from crucible_telemetry.stats import Moments, one_sample_t, one_way_anova

STRD = json.loads((Path(__file__).parent / "nist_strd.json").read_text())


def digits(value, certified):
    """Correct significant digits (log relative error), 15 at most as NIST gives no more."""
    if value == certified:
        return 15.0
    return min(15.0, -math.log10(abs(value - certified) / abs(certified)))


@pytest.mark.parametrize("name", STRD["univariate"])
def test_mean_and_deviation_of_observed_data_have_the_certified_digits(name):
    case = STRD["univariate"][name]
    moments = Moments.of(case["values"])
    assert digits(moments.mean, case["mean"]) >= 14.9
    assert digits(math.sqrt(moments.variance), case["sd"]) >= 13


def num_acc(offset):
    """NumAcc2 to 4 by NIST's rule: the middle once, then 500 times ± 0.1, as exact decimals."""
    middle, step = Fraction(offset) + Fraction(1, 5), Fraction(1, 10)
    return [middle, *[middle - step, middle + step] * 500]


@pytest.mark.parametrize(("offset", "least"), [(1, 14), (10**6, 9), (10**7, 8)])
def test_the_generated_sets_lose_only_what_their_values_lose_as_doubles(offset, least):
    exact = num_acc(offset)
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    assert (mean, variance) == (Fraction(offset) + Fraction(1, 5), Fraction(1, 100))
    moments = Moments.of([float(value) for value in exact])
    assert digits(moments.mean, float(mean)) >= 14.9
    assert digits(math.sqrt(moments.variance), 0.1) >= least


def test_the_first_set_is_exact():
    assert Moments.of([10_000_001, 10_000_003, 10_000_002]) == Moments(3, 10_000_002.0, 1.0)


@pytest.mark.parametrize("name", STRD["anova"])
def test_analysis_of_variance_of_observed_data_has_the_certified_digits(name):
    case = STRD["anova"][name]
    result = one_way_anova(case["arms"])
    least = 12 if name == "SiRstv" else 8  # AtmWtAg: seven constant leading digits
    assert digits(result.statistic, case["f"]) >= least
    assert digits(result.estimate, case["r_squared"]) >= least


def simon_lesage(replicates, offset):
    """SmLs01 to 09 by NIST's rule: nine arms at .4, .3, .5, .3, …, each its middle once, then ∓ 0.1."""
    middles = [Fraction(tenths, 10) + offset for tenths in (4, 3, 5, 3, 5, 3, 5, 3, 5)]
    step = Fraction(1, 10)
    pairs = (replicates - 1) // 2
    return [[middle, *[middle - step, middle + step] * pairs] for middle in middles]


def exact_f(arms):
    everything = [value for arm in arms for value in arm]
    grand = sum(everything) / len(everything)
    means = [sum(arm) / len(arm) for arm in arms]
    between = sum(len(arm) * (mean - grand) ** 2 for arm, mean in zip(arms, means, strict=True))
    within = sum(
        (value - mean) ** 2 for arm, mean in zip(arms, means, strict=True) for value in arm
    )
    return (between / (len(arms) - 1)) / (within / (len(everything) - len(arms)))


@pytest.mark.parametrize(("replicates", "certified"), [(21, 21), (201, 201), (2001, 2001)])
@pytest.mark.parametrize(("offset", "least"), [(1, 13), (10**6, 9), (10**12, 2.5)])
def test_analysis_of_variance_of_simon_and_lesage_loses_only_what_the_doubles_lose(
    replicates, certified, offset, least
):
    exact = simon_lesage(replicates, offset)
    if (
        replicates < 2001
    ):  # exact arithmetic on 18,009 fractions takes seconds; the rule is the same
        assert exact_f(exact) == certified
    arms = {str(k): [float(value) for value in arm] for k, arm in enumerate(exact)}
    assert digits(one_way_anova(arms).statistic, certified) >= least
    # What the doubles themselves hold, computed exactly, is met to nearly all digits.
    if replicates == 21:
        held = float(exact_f([[Fraction(value) for value in arm] for arm in arms.values()]))
        assert digits(one_way_anova(arms).statistic, held) >= 11


def digits_of_pi(count):
    """π = 16 arctan 1/5 − 4 arctan 1/239 (Machin), in integers with ten digits to spare."""

    def arctan(inverse):
        power, total, odd = 10 ** (count + 10) // inverse, 0, 1
        while power:
            total += power // odd if odd % 4 == 1 else -(power // odd)
            power //= inverse * inverse
            odd += 2
        return total

    with unlimited_digits():
        return [int(digit) for digit in str(16 * arctan(5) - 4 * arctan(239))[:count]]


@contextmanager
def unlimited_digits():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def test_digits_of_pi_have_the_certified_figures_once_nists_misprint_is_put_in():
    """Mean 4.5348 and deviation 2.86733906028871 are of a file whose 957th digit is 3 where π has 8."""
    values = digits_of_pi(5_000)
    assert (sum(values), values[956]) == (22_679, 8)
    values[956] = 3
    moments = Moments.of(values)
    assert digits(moments.mean, 4.53480000000000) >= 14.9
    assert digits(math.sqrt(moments.variance), 2.86733906028871) >= 13


def test_a_million_values_about_1e9_keep_their_variance():
    values = np.random.default_rng(7).normal(0, 1, 10**6)
    plain, shifted = Moments.of(values), Moments.of(values + 1e9)
    assert shifted.variance == pytest.approx(plain.variance, rel=1e-6)  # what + 1e9 rounds away
    assert shifted.mean - 1e9 == pytest.approx(plain.mean, abs=2e-7)
    assert one_sample_t(values + 1e9, claim=1e9).statistic == pytest.approx(
        one_sample_t(values).statistic, abs=1e-3
    )
