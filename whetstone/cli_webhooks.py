"""`whet webhooks`: have what happens told to an address."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.contract.webhooks import DeliveryRead, WebhookChange, WebhookKind
from whetstone.printing import AsJson, print_all, print_done, print_row

app = typer.Typer(no_args_is_help=True, help="Have what happens told to your own addresses.")

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="the webhook's id, whk_…")]
Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="the delivery's id, dlv_…")]


@app.command("create")
def create(
    url: Annotated[str, typer.Argument(help="an https:// address")],
    event: Annotated[list[WebhookKind] | None, typer.Option(help="may be repeated; all if left out")] = None,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a webhook. Its secret, which verifies messages, is printed this once."""
    with config.connect() as client:
        row = client.webhooks.create(url, tuple(event or ()), description)
    print_row(row, f"{row.id}  {row.url}\nsecret {row.secret}", as_json)


@app.command("list")
def list_webhooks(as_json: AsJson = False) -> None:
    """All webhooks, newest first."""
    with config.connect() as client:
        print_all(client.webhooks.list(), ("id", "url", "enabled", "disabled_reason", "failing_since"), as_json)


@app.command("delete")
def delete(webhook: Webhook, as_json: AsJson = False) -> None:
    """Delete a webhook with its log."""
    with config.connect() as client:
        client.webhooks.delete(webhook)
    print_done({"deleted": webhook}, "", as_json)


@app.command("enable")
def enable(webhook: Webhook, as_json: AsJson = False) -> None:
    """Switch a webhook on again."""
    _switch(webhook, enabled=True, as_json=as_json)


@app.command("disable")
def disable(webhook: Webhook, as_json: AsJson = False) -> None:
    """Switch a webhook off; what still waits for it is given up."""
    _switch(webhook, enabled=False, as_json=as_json)


def _switch(webhook: str, *, enabled: bool, as_json: bool) -> None:
    with config.connect() as client:
        row = client.webhooks.change(webhook, WebhookChange(enabled=enabled))
    print_row(row, f"{row.id}  {'on' if row.enabled else 'off'}", as_json)


@app.command("rotate-secret")
def rotate_secret(
    webhook: Webhook,
    overlap_hours: Annotated[float, typer.Option(min=0, max=168, help="how long the old one still signs")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a new secret, printed this once."""
    with config.connect() as client:
        made = client.webhooks.rotate_secret(webhook, overlap_hours)
    print_row(made, f"secret {made.secret}\nthe old one signs until {made.previous_until}", as_json)


@app.command("test")
def try_out(webhook: Webhook, as_json: AsJson = False) -> None:
    """Send a test event."""
    with config.connect() as client:
        _print_delivery(client.webhooks.test(webhook), as_json)


@app.command("deliveries")
def deliveries(webhook: Webhook, as_json: AsJson = False) -> None:
    """What was sent to a webhook, newest first."""
    with config.connect() as client:
        print_all(
            client.webhooks.deliveries(webhook), ("id", "kind", "state", "next_attempt_at", "created_at"), as_json
        )


@app.command("delivery")
def delivery(delivery: Delivery, as_json: AsJson = False) -> None:
    """One delivery: each attempt, and what was answered."""
    with config.connect() as client:
        _print_delivery(client.webhooks.delivery(delivery), as_json)


@app.command("redeliver")
def redeliver(delivery: Delivery, as_json: AsJson = False) -> None:
    """Send the same event to the same webhook again."""
    with config.connect() as client:
        _print_delivery(client.webhooks.redeliver(delivery), as_json)


@app.command("events")
def events(as_json: AsJson = False) -> None:
    """What happened in the last 30 days, newest first."""
    with config.connect() as client:
        print_all(client.webhooks.events(), ("id", "kind", "created_at"), as_json)


def _print_delivery(row: DeliveryRead, as_json: bool) -> None:
    tries = (
        f"\n  {attempt.at:%Y-%m-%d %H:%M:%S}  {attempt.error or attempt.status}  {attempt.answer}".rstrip()
        for attempt in row.attempts
    )
    print_row(row, f"{row.id}  {row.kind}  {row.state}{''.join(tries)}", as_json)
