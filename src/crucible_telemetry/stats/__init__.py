"""Statistics on arrays: every difference is treatment minus control, every estimate has an interval.

::

    means      welch_t, student_t, paired_t, one_sample_t        clusters   cr2_mean, cr2_difference, cr2_wald
    resampling Bootstrap, Permutation                            ratios     ratio, ratio_difference
    quantiles  quantile_interval, quantile_difference, needed_n
    rates      wilson, clopper_pearson, binomial_test, newcombe, fisher_exact, odds_ratio, chi_square
    pairs      newcombe_paired, mcnemar (of PairedRates)         claims     verdict
    ranks      mann_whitney, wilcoxon_signed_rank, cliffs_delta
    arms       one_way_anova, welch_anova, two_way_anova, kruskal_wallis, friedman
    which      tukey_hsd, games_howell, dunnett, hsu_mcb         correct    holm, benjamini_hochberg
    effects    cohen_d, cohen_d_paired, hedges_g, glass_delta    equivalent tost_welch, tost_paired, tost_proportions
    survival   kaplan_meier, restricted_mean(_difference), survival_quantile, success_by, log_rank(_arms)
    planning   MeansDesign, RatesDesign, design_effect, intraclass_correlation (of Clustered)
    describe   shapiro_wilk, anderson_darling, levene, brown_forsythe

A test answers with a frozen `Result`. `alternative` is ``"two-sided"``, ``"less"`` or ``"greater"`` (of
treatment minus control), one-sided intervals included; `confidence` is 0.95; NaN is refused by name unless
``nan="omit"``, which is counted in the notes. Wrong arguments raise ConfigurationError; data that allow no
test (too few, no variance, infinite) give a result whose notes say why. `Moments` merge, and stand for an
arm's values in tests of means. Needs the extra ``[stats]`` (SciPy, statsmodels), loaded when first used.
"""

from crucible_telemetry.stats.arguments import Clustered
from crucible_telemetry.stats.arms import friedman, kruskal_wallis, one_way_anova, welch_anova
from crucible_telemetry.stats.checks import (
    anderson_darling,
    brown_forsythe,
    levene,
    shapiro_wilk,
)
from crucible_telemetry.stats.clusters import (
    cr2_difference,
    cr2_mean,
    cr2_wald,
    intraclass_correlation,
)
from crucible_telemetry.stats.corrections import benjamini_hochberg, holm
from crucible_telemetry.stats.effects import cohen_d, cohen_d_paired, glass_delta, hedges_g
from crucible_telemetry.stats.equivalence import tost_paired, tost_proportions, tost_welch
from crucible_telemetry.stats.factors import two_way_anova
from crucible_telemetry.stats.logrank import log_rank, log_rank_arms
from crucible_telemetry.stats.means import one_sample_t, paired_t, student_t, welch_t
from crucible_telemetry.stats.moments import Moments
from crucible_telemetry.stats.multiple import dunnett, games_howell, hsu_mcb, tukey_hsd
from crucible_telemetry.stats.paired_rates import PairedRates, mcnemar, newcombe_paired
from crucible_telemetry.stats.power import MeansDesign, RatesDesign, design_effect
from crucible_telemetry.stats.quantiles import needed_n, quantile_difference, quantile_interval
from crucible_telemetry.stats.ranks import cliffs_delta, mann_whitney, wilcoxon_signed_rank
from crucible_telemetry.stats.rates import (
    binomial_test,
    chi_square,
    clopper_pearson,
    fisher_exact,
    newcombe,
    odds_ratio,
    wilson,
)
from crucible_telemetry.stats.ratios import ratio, ratio_difference
from crucible_telemetry.stats.resample import Bootstrap, Permutation
from crucible_telemetry.stats.result import Effect, Result
from crucible_telemetry.stats.survival import (
    Censored,
    SurvivalCurve,
    kaplan_meier,
    restricted_mean,
    restricted_mean_difference,
    success_by,
    survival_quantile,
)
from crucible_telemetry.stats.verdicts import Verdict, verdict

__all__ = [
    "Bootstrap",
    "Censored",
    "Clustered",
    "Effect",
    "MeansDesign",
    "Moments",
    "PairedRates",
    "Permutation",
    "RatesDesign",
    "Result",
    "SurvivalCurve",
    "Verdict",
    "anderson_darling",
    "benjamini_hochberg",
    "binomial_test",
    "brown_forsythe",
    "chi_square",
    "cliffs_delta",
    "clopper_pearson",
    "cohen_d",
    "cohen_d_paired",
    "cr2_difference",
    "cr2_mean",
    "cr2_wald",
    "design_effect",
    "dunnett",
    "fisher_exact",
    "friedman",
    "games_howell",
    "glass_delta",
    "hedges_g",
    "holm",
    "hsu_mcb",
    "intraclass_correlation",
    "kaplan_meier",
    "kruskal_wallis",
    "levene",
    "log_rank",
    "log_rank_arms",
    "mann_whitney",
    "mcnemar",
    "needed_n",
    "newcombe",
    "newcombe_paired",
    "odds_ratio",
    "one_sample_t",
    "one_way_anova",
    "paired_t",
    "quantile_difference",
    "quantile_interval",
    "ratio",
    "ratio_difference",
    "restricted_mean",
    "restricted_mean_difference",
    "shapiro_wilk",
    "student_t",
    "success_by",
    "survival_quantile",
    "tost_paired",
    "tost_proportions",
    "tost_welch",
    "tukey_hsd",
    "two_way_anova",
    "verdict",
    "welch_anova",
    "welch_t",
    "wilcoxon_signed_rank",
    "wilson",
]
