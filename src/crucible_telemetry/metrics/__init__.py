"""Station 3, count on the way: exact sums, a quantile sketch, and the board that defines every metric.

`accumulators`, `reals` and `sketch` know numbers only; `config` says what is asked for; `grouping` makes
`cells` of a batch; `board` adds cells; `summary` and `spreads` turn them into the structs of `figures`,
which `table` prints; `rest` does the same over stored columns. One definition: at rest only the spread
differs, values instead of buckets. `rollups` keeps figures by the minute, hour and day; `narrowing` finds
exact quantiles of more values than memory should hold.
"""
