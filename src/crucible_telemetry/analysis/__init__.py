"""Station 4, understand: what is computed from events at rest.

`reading` asks a store and hands its columns to the rest; `pools`, `windows` and `rolled` (windows from roll-ups)
are PURE, `flat` passes over more events than memory should hold.
"""
