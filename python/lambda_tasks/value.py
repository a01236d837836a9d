"""Frozen values for code that runs at every cold start, without the import of `dataclasses`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda base: base


@dataclass_transform(frozen_default=True)
class Value:
    """A value whose fields are the annotations of its class, as those of a frozen dataclass are.

    It is made by position or name, and compared by its fields. A class attribute is the default of its field. Derive
    from this class directly: the fields of a class between are not inherited.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = tuple(cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:  # noqa: ANN401 - type checkers see the annotations
        given = dict(zip(self._names, values, strict=False))
        if len(given) == len(values) == len(self._names) and not named:  # as most are made
            self.__dict__.update(given)
            return
        missing = [name for name in self._names if name not in named and name not in given and not hasattr(self, name)]
        if missing or len(values) > len(self._names) or given.keys() & named or not named.keys() <= {*self._names}:
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._names)}")
        self.__dict__.update(given, **named)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._held() == other._held()

    def __hash__(self) -> int:
        return hash(self._held())

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in zip(self._names, self._held(), strict=True))
        return f"{type(self).__name__}({', '.join(fields)})"

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401
        """Return a copy with other values."""
        return type(self)(**{**dict(zip(self._names, self._held(), strict=True)), **changes})

    def _held(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names)
