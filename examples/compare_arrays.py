"""Statistics on arrays: two arms of latencies, of outcomes and of repeated items; plan the next run."""

import numpy as np

import crucible_telemetry as ct

SEED = 7


def main() -> None:
    rng = np.random.default_rng(SEED)
    control, treatment = rng.lognormal(0.0, 0.5, 600), rng.lognormal(-0.1, 0.5, 600)
    print(ct.stats.welch_t(control, treatment))
    print(ct.stats.quantile_difference(control, treatment, 0.99))

    # Correct answers: 512 of 600 against 548 of 600; is the treatment's rate above 90 %?
    print(ct.stats.newcombe((512, 600), (548, 600)))
    rate = ct.stats.wilson((548, 600))
    print(f"above 90 %: {ct.stats.verdict(rate, at_least=0.90)} ({rate.interval[0]:.3f} at least)")

    # The same 40 items, three times in each arm: items are compared, not the 120 rows.
    items = np.repeat(np.arange(40), 3)
    level = np.repeat(rng.normal(0, 1, 40), 3)
    arms = [
        ct.stats.Clustered(level + shift + rng.normal(0, 1, 120), items) for shift in (0.0, 0.4)
    ]
    print(ct.stats.cr2_difference(*arms))

    # Calls given up after 4 s here and after 20 s there: compared to 4 s, and no further.
    times = rng.lognormal(0.5, 1, (2, 300))
    short, long = (
        ct.stats.Censored(np.minimum(arm, limit), arm <= limit)
        for arm, limit in zip(times, (4.0, 20.0), strict=True)
    )
    print(ct.stats.restricted_mean_difference(short, long, horizon=4.0))

    design = ct.stats.MeansDesign(repeats=3, icc=0.4)
    print(f"items an arm to find d = 0.3 with power 0.8: {design.sample_size(0.3)}")


if __name__ == "__main__":
    main()
