"""Models by kind: the shape that captioners and text encoders share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vecaf.errors import ConfigError


class Registry:
    """Classes by kind, each with a pydantic ``Params`` and a constructor ``(params, seed)``."""

    def __init__(self, what: str, kinds: Mapping[str, type]):
        self.what, self._kinds = what, dict(kinds)

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def implemented(self, kind: str) -> bool:
        return kind in self._kinds

    def get(self, kind: str) -> type:
        """Return the class of a kind; raises ConfigError for an unknown one."""
        if kind not in self._kinds:
            raise ConfigError(f"{self.what} {kind!r} is not one of {', '.join(self.names())}")
        return self._kinds[kind]

    def build(self, spec: Mapping[str, Any]) -> Any:
        """Return a model from ``{"kind", "seed", …params}``; raises ConfigError naming the parameter that is wrong.

        ``prompt`` belongs to the captions and is passed over.
        """
        found = self.get(spec["kind"])
        params = {key: value for key, value in spec.items() if key not in ("kind", "seed", "prompt")}
        try:
            return found(found.Params.model_validate(params, strict=True), spec.get("seed", 0))
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise ConfigError(f"{self.what} {spec['kind']}: {'; '.join(lines)}") from error
