"""Print the JSON schema of the configuration: ``python -m vecaf.config > config.schema.json``."""

import json

from vecaf.config import schema

print(json.dumps(schema(), indent=1, sort_keys=True))
