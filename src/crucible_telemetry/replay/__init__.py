"""A user's own trace made into an experiment: rows of a file → fields of an event → the real event path.

`reading.py` opens files and gives rows, `names.py` knows what columns are usually called, `values.py` what
cells mean, `mapping.py` decides and says why, `run.py` emits.
"""
