"""Station 1, emit: what an event is, how it is encoded once, and the bus it travels on."""
