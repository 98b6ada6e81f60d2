"""A registry of implementations by kind, with checked parameters; imported when the Snakefile is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vecaf.errors import ConfigError


class Params(BaseModel):
    """Parameters of one kind: unknown keys are refused and nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Registry:
    """Classes by kind. Each has a pydantic ``Params`` and is built as ``cls(params, seed)``.

    noun: what the kinds are, for messages. reserved: keys of a spec that are not parameters of the class.
    """

    def __init__(self, noun: str, reserved: frozenset[str]):
        self._noun, self._reserved = noun, reserved
        self._classes: dict[str, type] = {}

    def register(self, kind: str):
        """Register a class under a kind; raises ValueError for a kind that is taken."""

        def add(cls: type) -> type:
            if kind in self._classes:
                raise ValueError(f"two {self._noun}s are called {kind!r}")
            cls.kind = kind
            self._classes[kind] = cls
            return cls

        return add

    def names(self) -> list[str]:
        return sorted(self._classes)

    def implemented(self, kind: str) -> bool:
        return kind in self._classes

    def get(self, kind: str) -> type:
        """Return the class of a kind; raises ConfigError for an unknown one."""
        if kind not in self._classes:
            raise ConfigError(f"{self._noun} kind {kind!r} is not one of {', '.join(self.names())}")
        return self._classes[kind]

    def build(self, spec: Mapping[str, Any]) -> Any:
        """Return an instance from {"kind", its parameters, "seed"}; raises ConfigError naming what is wrong."""
        cls = self.get(spec["kind"])
        values = {key: value for key, value in spec.items() if key not in self._reserved}
        try:
            params = cls.Params.model_validate(values, strict=True)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise ConfigError(f"parameters of the {self._noun} {spec['kind']}: {'; '.join(lines)}") from error
        return cls(params, int(spec.get("seed", 0)))
