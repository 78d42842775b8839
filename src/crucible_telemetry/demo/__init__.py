"""The demo: two published traces of LLM calls, replayed at the same time as two experiments.

`traces.py` reads what was published, `replay.py` makes the calls again as a user's pipeline would make
them, `figures.py` turns what was measured back into the trace's seconds, `screen.py` shows it, `run.py`
is the whole of it. Needs the extra ``[cli]``.
"""
