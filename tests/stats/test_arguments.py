"""What every test does with missing values, wrong options and shapes; and how results read."""

import inspect
import json
import math

import numpy as np
import pytest

from crucible_telemetry import stats
from crucible_telemetry.errors import ConfigurationError

HOLED = [1.0, 2.0, math.nan, 4.0, 5.5, 7.0, 9.0, 3.0, 2.5]
WHOLE = [2.0, 1.0, 3.0, 2.5, 6.0, 1.5, 8.0, 4.0, 3.5]
LABELS = [1, 1, 2, 2, 3, 3, 4, 4, 5]

TWO_ARMS = [
    stats.welch_t, stats.student_t, stats.paired_t, stats.mann_whitney, stats.cliffs_delta,
    stats.wilcoxon_signed_rank, stats.cohen_d, stats.cohen_d_paired, stats.hedges_g,
    stats.glass_delta,
]  # fmt: skip
OTHERS = {
    "one_sample_t": stats.one_sample_t,
    "quantile_interval": lambda values, **how: stats.quantile_interval(values, 0.5, **how),
    "quantile_difference": lambda values, **how: stats.quantile_difference(values, WHOLE, 0.5, **how),
    "ratio": lambda values, **how: stats.ratio((values, WHOLE), **how),
    "cr2_mean": lambda values, **how: stats.cr2_mean(stats.Clustered(values, LABELS), **how),
    "bootstrap": lambda values, **how: stats.Bootstrap(resamples=99).one(values, **how),
    "permutation": lambda values, **how: stats.Permutation(resamples=99).difference(
        values, WHOLE, **how
    ),
    "anova": lambda values, **how: stats.one_way_anova({"a": values, "b": WHOLE}, **how),
    "kruskal": lambda values, **how: stats.kruskal_wallis({"a": values, "b": WHOLE}, **how),
    "friedman": lambda values, **how: stats.friedman({"a": values, "b": WHOLE, "c": WHOLE}, **how),
    "shapiro": stats.shapiro_wilk,
    "levene": lambda values, **how: stats.levene({"a": values, "b": WHOLE}, **how),
    "restricted_mean": lambda values, **how: stats.restricted_mean(
        stats.Censored(values, [True] * 9), 5.0, **how
    ),
    "tost": lambda values, **how: stats.tost_welch(values, WHOLE, bounds=(-1, 1), **how),
}  # fmt: skip


@pytest.mark.parametrize("test", TWO_ARMS, ids=lambda test: test.__name__)
def test_missing_values_are_refused_by_name_or_left_out_and_counted(test):
    with pytest.raises(ConfigurationError, match=r"control.*holds 1 NaN: nan=\"omit\""):
        test(HOLED, WHOLE)
    with pytest.raises(ConfigurationError, match="treatment.*holds 1 NaN"):
        test(WHOLE, HOLED)
    result = test(HOLED, WHOLE, nan="omit")
    assert any("1 of 9 left out (NaN)" in note for note in result.notes)
    assert result.n[0] == 8


@pytest.mark.parametrize("name", OTHERS)
def test_missing_values_are_refused_or_counted_everywhere_else_too(name):
    with pytest.raises(ConfigurationError, match="1 NaN"):
        OTHERS[name](HOLED)
    result = OTHERS[name](HOLED, nan="omit")
    assert any("1 of 9 left out (NaN)" in note or "1 items of 9" in note for note in result.notes)


@pytest.mark.parametrize("test", TWO_ARMS, ids=lambda test: test.__name__)
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"confidence": 0.0}, "confidence: 0.0 is not between 0 and 1"),
        ({"confidence": 95}, "confidence: 95 is not"),
        ({"alternative": "bigger"}, "alternative: 'bigger' is none of two-sided, less, greater"),
        ({"nan": "drop"}, "nan: 'drop' is none of error, omit"),
    ],
)
def test_wrong_options_are_errors_that_name_them(test, options, named):
    with pytest.raises(ConfigurationError, match=named):
        test(WHOLE, WHOLE[::-1], **options)


@pytest.mark.parametrize(
    ("values", "named"),
    [([[1.0]], "control: has 2 dimensions"), (["a"], "control: is no array of numbers")],
)
def test_what_is_no_array_of_numbers_is_an_error_that_names_it(values, named):
    with pytest.raises(ConfigurationError, match=named):
        stats.welch_t(values, WHOLE)


def test_clusters_need_a_label_for_every_value():
    with pytest.raises(ConfigurationError, match=r"values.clusters: has shape \(2,\)"):
        stats.cr2_mean(stats.Clustered([1.0, 2.0, 3.0], [1, 2]))
    with pytest.raises(ConfigurationError, match="clusters: holds NaN"):
        stats.cr2_mean(stats.Clustered([1.0, 2.0], [1.0, math.nan]))


def test_rates_are_counts():
    for wrong in ((3, 2), (-1, 2), (0.5, 2), (1,), "ab", (math.nan, 2)):
        with pytest.raises(ConfigurationError, match="control"):
            stats.newcombe(wrong, (1, 2))


def test_arms_are_a_mapping_of_two_or_more():
    with pytest.raises(ConfigurationError, match="at least 2 are needed, there are 1"):
        stats.one_way_anova({"a": WHOLE})
    with pytest.raises(ConfigurationError, match="a mapping from each arm's name"):
        stats.kruskal_wallis([WHOLE, WHOLE])
    with pytest.raises(ConfigurationError, match="at least 3"):
        stats.friedman({"a": WHOLE, "b": WHOLE})


@pytest.mark.parametrize("name", sorted(stats.__all__))
def test_every_public_name_says_what_it_is(name):
    if name == "Verdict":
        return
    text = inspect.getdoc(getattr(stats, name))
    assert text
    assert not text.startswith(f"{name}(")


def test_the_public_names_are_sorted_and_there():
    assert stats.__all__ == sorted(stats.__all__)
    assert set(stats.__all__) <= set(dir(stats))


def test_a_result_reads_as_a_sentence_a_table_a_dictionary_and_html():
    result = stats.welch_t([1.0, 2.0, 3.0], [2.0, 4.0, 9.0])
    assert str(result).startswith(
        "Welch's t: difference of means, treatment − control = 3, 95 % interval −5.208 to 11.21 "
        "(statistic = 1.389, df = 2.306, p = 0.284, n = 3, 3)"
    )
    assert "| 95 %: −5.208 to 11.21 |" in result.to_markdown()
    assert result.to_markdown().splitlines()[1] == "|---|---|"
    plain = result.to_dict()
    assert plain["estimate"] == 3.0
    assert plain["effect_size"]["name"] == "Hedges' g"
    assert json.loads(json.dumps(plain))["n"] == [3, 3]
    page = result._repr_html_()
    assert "Welch&#x27;s t" in page
    assert page.count("<tr>") == page.count("</tr>") > 5


def test_a_result_without_a_test_reads_as_such():
    result = stats.welch_t([1.0], [math.inf, 2.0])
    assert "interval −∞ to ∞" in str(result)
    assert "note: needs two values" in str(result)
    assert math.isnan(result.to_dict()["p_value"])
    assert "p-value" not in result.to_markdown()


def test_what_a_user_names_cannot_break_the_table():
    arms = {"a|b": WHOLE, "<c>": WHOLE[::-1]}
    result = stats.one_way_anova(arms)
    assert "a\\|b" in result.to_markdown()
    assert "&lt;c&gt;" in result._repr_html_()


def test_results_are_frozen_and_compare_equal():
    result = stats.wilson((3, 10))
    assert result == stats.wilson((3, 10))
    with pytest.raises(AttributeError):
        result.estimate = 1.0


def test_arrays_of_any_kind_will_do():
    expected = stats.welch_t([1.0, 2.0, 4.0], [2.0, 3.0, 9.0])
    for make in (np.array, tuple, lambda values: np.array(values, dtype=np.float32)):
        assert stats.welch_t(make([1, 2, 4]), make([2, 3, 9])) == expected


@pytest.mark.parametrize("name", OTHERS)
def test_what_an_array_masks_is_missing(name):
    masked = np.ma.masked_array([999.0, *WHOLE[1:]], mask=[True, *[False] * 8])
    with pytest.raises(ConfigurationError, match="1 NaN"):
        OTHERS[name](masked)
    holed = [math.nan, *WHOLE[1:]]
    assert OTHERS[name](masked, nan="omit") == OTHERS[name](holed, nan="omit")


@pytest.mark.parametrize(
    "values",
    [["1", "2"], np.array(["2020-01-01"], "datetime64[D]"), [1j], [10**400], {1.0, 2.0}, None, 3.0],
    ids=str,
)
def test_what_is_no_array_of_numbers_is_named(values):
    with pytest.raises(ConfigurationError, match="treatment"):
        stats.welch_t(WHOLE, values)


def test_arms_that_lie_absurdly_far_apart_have_an_effect_near_one_and_no_error():
    found = stats.one_way_anova({"a": [1.0, 2.0, 4.0], "b": [9e15, 9e15 + 2, 9e15 + 4]})
    assert found.interval == pytest.approx((1.0, 1.0))
    assert found.p_value < 1e-30
    assert stats.welch_anova({"a": [1e308, -1e308], "b": [1.0, 2.0]}).notes


def test_resamples_that_do_not_vary_are_told():
    found = stats.Bootstrap(resamples=99, method="percentile").one([2.0] * 5)
    assert found.interval == (2.0, 2.0)
    assert "hardly vary" in found.notes[0]


TIMES = stats.Censored(WHOLE, [True] * 9)
WRONG = {
    "q": lambda: stats.quantile_interval(WHOLE, "half"),
    "claim": lambda: stats.one_sample_t(WHOLE, claim=math.nan),
    "horizon": lambda: stats.restricted_mean(TIMES, "late"),
    "time": lambda: stats.success_by(TIMES, None),
    "sampled": lambda: stats.survival_quantile(WHOLE, 0.5),
    "treatment": lambda: stats.log_rank(TIMES, WHOLE),
    "values": lambda: stats.cr2_mean(WHOLE),
    "observed": lambda: stats.kaplan_meier(stats.Censored(WHOLE, ["False"] * 9)),
    "both": lambda: stats.PairedRates(both=1.5, control_only=0, treatment_only=1, neither=0),
    "resamples": lambda: stats.Bootstrap(resamples=0),
    "seed": lambda: stats.Permutation(seed="one"),
    "bounds": lambda: stats.tost_welch(WHOLE, WHOLE, bounds=1),
    "arms": lambda: stats.one_way_anova([WHOLE, WHOLE]),
    "alternative": lambda: stats.fisher_exact((1, 2), (2, 3), alternative="up"),
    "confidence": lambda: stats.wilson((1, 2), confidence="95"),
    "control_rate": lambda: stats.RatesDesign().power("half", 0.5, 10),
    "n": lambda: stats.MeansDesign().power(0.5, "ten"),
    "repeats": lambda: stats.MeansDesign(repeats="3", icc=0.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_an_error_that_names_the_argument(name):
    with pytest.raises(ConfigurationError, match=name):
        WRONG[name]()
