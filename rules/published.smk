"""The published bundle: cells that it holds under the present configuration, and that have no run here, plan no job."""

from functools import cache

from snakemake.logging import logger

from vecaf.reporting import bundle

# Outside the root of any study: git keeps this folder alone.
PUBLISHED = "results/published/"


@cache
def published():
    """Return (cell, file) → digest of the configuration behind it; read once, and only by processes that ask."""
    records = f"{PUBLISHED}{bundle.RECORDS}"
    return bundle.digests(records) if os.path.exists(records) else {}


def record_of(domain):
    """Return the record of a cell, or that of its accuracy under a corruption."""
    return bundle.METRICS if domain is None else f"ood/{domain}.json"


def in_bundle(cell, domain=None):
    """Say whether a record of a cell is read from the bundle; what has been run here comes first."""
    current = published().get((str(cell), record_of(domain))) == study.digest(cell, domain)
    return current and not os.path.exists(in_cell(f"{CELL}{bundle.METRICS}", cell))


@cache
def say_stale(exhibit):
    """Say once which published cells an exhibit cannot use, and that they are planned."""
    stale = [
        str(cell)
        for cell in study.cells(exhibit)
        if not os.path.exists(in_cell(f"{CELL}{bundle.METRICS}", cell))
        and any(
            published().get((str(cell), record_of(domain))) not in (None, study.digest(cell, domain))
            for domain in (None, *study.domains(exhibit))
        )
    ]
    if stale and workflow.is_main_process:
        fate = "stand as stale" if only_finished else "are planned again"
        logger.warning(
            f"{exhibit}: {len(stale)} published cells were run under another configuration and {fate}: "
            + ", ".join(stale[:3] + ["…"] * (len(stale) > 3))
        )


def runs_beside(exhibit):
    """Return the records of the bundle if it holds any cell of an exhibit; runs here are set beside theirs."""
    held = any(published().get((str(cell), bundle.METRICS)) == study.digest(cell) for cell in study.cells(exhibit))
    return [f"{PUBLISHED}{bundle.RECORDS}"] if held else []


def bundle_of(exhibit, file):
    """Return a file of the bundle if any cell of an exhibit is read from it."""
    return [f"{PUBLISHED}{file}"] if any(in_bundle(cell) for cell in study.cells(exhibit)) else []


def own_or_published(file, digest):
    """Return where a file that an exhibit draws from is read: the bundle's copy, if it fits and none is here."""
    copy = f"{PUBLISHED}{os.path.relpath(file, root)}"
    if os.path.exists(file) or not os.path.exists(copy):
        return file
    return copy if bundle.exhibit_digest(copy) == digest else file


def published_ids(exhibit):
    """Return the rows that say which selections are published, and the bundle's ids; nothing where none is needed."""
    ids = bundle_of(exhibit, bundle.IDS)
    return [f"{root}/metrics/{exhibit}.parquet", *ids] if ids else []


def published_curves(exhibit):
    """Return the bundle's files that curves are joined from; nothing where none is needed."""
    return [file for name in (bundle.CURVES, bundle.BATCHES) for file in bundle_of(exhibit, name)]
