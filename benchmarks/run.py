"""All benchmarks, one command: `python benchmarks/run.py [--quick]`; prints what RESULTS.md keeps."""

import platform

import burst
import emit
import export
import keeping
import lag
import postgres
import prices
import scale
import sql


def main() -> None:
    print(f"CPython {platform.python_version()}, {platform.machine()}\n")
    emit.main()
    print("\n### (d) Memory\n")
    scale.main()
    prices.main()
    export.main()
    keeping.main()
    lag.main()
    postgres.main()
    sql.main()
    print("\n### Bursts\n")
    burst.main()


if __name__ == "__main__":
    main()
