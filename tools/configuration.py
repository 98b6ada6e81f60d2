"""A study as snakemake would read it: the Snakefile's own files, a profile's, and those of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from snakemake.cli import parse_args, parse_config
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

from vecaf import config
from vecaf.errors import ConfigError
from vecaf.study import Study

SNAKEFILE = Path(__file__).resolve().parent.parent / "Snakefile"


def read(arguments: list[str]) -> tuple[Study, list[str]]:
    """Return the study that a command line of snakemake speaks of (profile, configfile, config), and its targets.

    Raises ConfigError for mistakes in it and for a file that cannot be read.
    """
    _, args = parse_args(arguments)
    raw: dict[str, Any] = {}
    for name in re.findall(r'^configfile: "(.+)"', SNAKEFILE.read_text(encoding="utf-8"), re.MULTILINE):
        update_config(raw, ConfigSettings(configfiles=[SNAKEFILE.with_name(name)]).overwrite_config)
    try:
        given = ConfigSettings(configfiles=args.configfile, config=parse_config(args.config))
    except OSError as error:
        raise ConfigError(
            f"--configfile {error.filename}: {error.strerror}; names of exhibits stand before --configfile"
        ) from None
    update_config(raw, given.overwrite_config)
    return Study(config.load(raw)), list(args.targets)
