"""Station 3, count on the way: exact sums, a quantile sketch, and the board that defines every metric.

`accumulators` and `sketch` know numbers only; `grouping` makes `cells` of a batch; `board` adds cells;
`summary` turns them into the structs of `figures`; `rest` does the same over stored columns. One
definition: at rest only the spread differs, values instead of buckets.
"""
