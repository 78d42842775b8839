"""Station 3, count on the way: exact sums, a quantile sketch, and the board that defines every metric."""
