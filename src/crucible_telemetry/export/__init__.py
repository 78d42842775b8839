"""Station 4, take away: files that hold what the store holds."""
