"""Station 2, collect: the options of an experiment, its mailbox and the actor that empties it."""
