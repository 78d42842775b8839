"""Station 3, keep: the port every store implements, and the stores."""
