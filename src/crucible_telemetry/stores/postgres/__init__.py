"""The keep on a server: PostgreSQL by asyncpg, events as rows that others may query with SQL.

::

    keep      the verbs of `Keep`           schema   tables, the view `events`, TimescaleDB (PURE)
      making    tables made, or another's   address  a URL, and what of it may be shown (PURE)
      writing   a change in one transaction   rows   columns as rows and back (PURE)
      server    connections, their errors, and the lock that says who writes
      about     what the server says of itself
      reading   the experiments it has, when it is opened
    view      the keep that is read only
"""
