"""Station 2, collect: the options of an experiment, and the actor that empties its mailbox."""
