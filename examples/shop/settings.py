"""The shop's own settings: plain environment variables, wherever their values come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """The configuration of the shop's tasks. Some of it is kept as secrets, which the shop does not need to know."""

    currency: str
    database_password: str = field(repr=False)
    api_token: str = field(repr=False)
    signing_key: str = field(repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            KeyError: naming the variable that is not set.

        """
        return cls(
            currency=environ["SHOP_CURRENCY"],
            database_password=environ["SHOP_DATABASE_PASSWORD"],
            api_token=environ["SHOP_API_TOKEN"],
            signing_key=environ["SHOP_SIGNING_KEY"],
        )
