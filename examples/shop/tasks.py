"""The background work of the shop. Each task logs what it did; none of them logs a secret."""

from __future__ import annotations

import base64
import json
import logging
import os
from datetime import date
from decimal import Decimal

from lambda_tasks import task
from shop.image import Image
from shop.settings import Settings
from shop.signature import sign

logger = logging.getLogger("shop")


class GatewayDown(ConnectionError):
    """Raised when the payment gateway does not answer."""


@task
def send_receipt(*, order_id: int, total: Decimal) -> str:
    """Sign a receipt, so that the customer can tell it from a forgery, and mail it."""
    settings = Settings.from_environ(os.environ)
    receipt = f"order {order_id}: {total:.2f} {settings.currency}"
    logger.info("receipt sent", extra={"signed": receipt, "signature": sign(settings.signing_key, receipt)})
    return receipt


@task
def resize_image(*, image: str, width: int) -> str:
    """Make a thumbnail of a base64 PPM and return it in the same form."""
    thumbnail = Image.from_ppm(base64.b64decode(image)).resized(width)
    logger.info("image resized to %d x %d", thumbnail.width, thumbnail.height)
    return base64.b64encode(thumbnail.to_ppm()).decode()


@task
def sync_stock(*, warehouse: str, counts: dict[str, int]) -> None:
    """Tell a warehouse what is left, in a request that its API accepts only when it is signed with our token."""
    settings = Settings.from_environ(os.environ)
    request = json.dumps({"warehouse": warehouse, "counts": counts}, sort_keys=True)
    logger.info("stock synchronised", extra={"signed": request, "signature": sign(settings.api_token, request)})


@task
def export_orders(*, day: date) -> None:
    """Log in to the database by signing its challenge with the password, and export a day's orders."""
    settings = Settings.from_environ(os.environ)
    challenge = f"export {day.isoformat()}"
    logger.info(
        "orders exported", extra={"signed": challenge, "signature": sign(settings.database_password, challenge)}
    )


@task(schedule="cron(0 3 * * ? *)", schedule_timezone="Europe/Berlin")
def clean_up(*, days: int = 30) -> None:
    """Forget the baskets that nobody has touched for some days, every night."""
    logger.info("baskets older than %d days are gone", days)


@task(retry_on=(GatewayDown,), max_retries=1, retry_delay=1)
def charge_card(*, order_id: int, amount: Decimal) -> None:
    """Charge a customer's card, and try once more where the gateway is down; the demo's always is."""
    raise GatewayDown(f"no answer from the payment gateway (order {order_id}, {amount:.2f})")
