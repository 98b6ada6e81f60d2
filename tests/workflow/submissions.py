"""Print what a dry run would submit to a cluster, one JSON list of rule names per job or group; arguments: snakemake's.

Snakemake's dry run prints single steps, so its own list of jobs and groups is read before the first would start.
"""

import json
import sys

from snakemake import cli
from snakemake.dag import DAG

ready = DAG.update_ready


def announce(dag, *args, **options):
    DAG.update_ready = ready
    for job in dag.get_jobs_or_groups():
        if job.is_group():
            print(json.dumps(sorted(member.rule.name for member in job.jobs)))
        elif dag.needrun(job):
            print(json.dumps([job.rule.name]))
    return ready(dag, *args, **options)


DAG.update_ready = announce
cli.main(sys.argv[1:])
