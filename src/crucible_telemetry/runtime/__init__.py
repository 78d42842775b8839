"""The ground: actors and supervisors on asyncio or trio; knows nothing of telemetry.

::

    supervisor   starts, watches, stops        children   what it is told and tells, as data
      restart    who restarts, how often (PURE)
    actor        mailbox, ref, the loop that empties a mailbox
      loops      the only place that knows the back-ends
      aside      a loop in a thread of its own, for clients that know asyncio only
    headway      how far long work is, told to who watches

A tree is started with ``spawn_root(supervisor.run, name)``.
"""
