"""`python -m bench [PART …]`: everything, or the parts that are named; what is written is everything that was measured."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from pathlib import Path

from bench import asking, consumer, fanout, footprint, gate, importing, latency, relay, report, stopping
from bench.figures import Figure
from bench.ground import EMBEDDED, KAFKA, SHORT, ground
from bench.stage import stage
from deploy.kafka import local

ON_A_BUS = {"latency": latency, "relay": relay, "consumer": consumer}
ON_A_STAGE = {"asking": asking, "fanout": fanout, "stopping": stopping, "importing": importing}
PARTS = ("gate", "footprint", *ON_A_BUS, *ON_A_STAGE)


async def run(parts: list[str], buses: list[str]) -> list[Figure]:
    """Raises what goes wrong: a figure that could not be measured is no figure."""
    figures: list[Figure] = []

    def told(found: list[Figure]) -> None:
        figures.extend(found)
        for one in found:
            beside = "" if one.ratio is None else f", {one.ratio:.2f} of the floor"
            print(f"  {one.name}: {one.median:,.2f} {one.unit}{beside}", flush=True)

    if "gate" in parts:
        told(gate.measure())
    if "footprint" in parts:
        told(await footprint.measure())
    for kind in buses:
        print(f"on the bus {kind}:", flush=True)
        alone = [part for name, part in ON_A_BUS.items() if name in parts]
        staged = [part for name, part in ON_A_STAGE.items() if name in parts]
        # The bus has no part in an import: once is enough.
        if kind == KAFKA and EMBEDDED in buses:
            staged = [part for part in staged if part is not importing]
        if alone:
            async with ground(kind) as on:
                for part in alone:
                    told(await part.measure(on))
        if staged:  # on another bus of that kind: what was said before is nobody's here
            async with ground(kind) as on, stage(on) as at_work:
                for part in staged:
                    told(await part.measure(at_work))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--docs", type=Path, default=report.DOCS, help="where the report goes")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    logging.disable(logging.WARNING)  # what goes wrong is raised
    buses = [EMBEDDED, KAFKA]
    if (lacking := local.missing()) is not None:
        print(f"NOT MEASURED ON KAFKA: {lacking}", flush=True)
        buses.remove(KAFKA)
    began = time.monotonic()
    figures = asyncio.run(run(arguments.parts or list(PARTS), buses))
    seconds = time.monotonic() - began
    report.write(figures, seconds, arguments.docs)
    print(f"{'short run' if SHORT else 'whole run'}, {seconds / 60:.1f} minutes: {arguments.docs / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
