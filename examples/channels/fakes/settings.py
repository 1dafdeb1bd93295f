"""What the adapters have to be told to take the fakes for the vendors."""

from .slack import FakeSlack
from .whatsapp import FakeWhatsApp


def vendors() -> tuple[FakeSlack, FakeWhatsApp]:
    """Starts both fakes."""
    slack = FakeSlack("8f742231b10e8888abcd99yyyzzz85a5", "xoxb-1")
    return slack, FakeWhatsApp("app-secret", "verify-me", "EAAG-1", "106540352242922")


def environment(slack: FakeSlack, whatsapp: FakeWhatsApp) -> dict[str, str]:
    """Returns the variables of the adapters."""
    return {
        "SLACK_SIGNING_SECRET": slack.signing_secret.decode(),
        "SLACK_BOT_TOKEN": slack.token,
        "SLACK_API": slack.api,
        "WHATSAPP_APP_SECRET": whatsapp.app_secret.decode(),
        "WHATSAPP_VERIFY_TOKEN": whatsapp.verify_token,
        "WHATSAPP_TOKEN": whatsapp.token,
        "WHATSAPP_PHONE_NUMBER_ID": whatsapp.phone_number_id,
        "WHATSAPP_API": whatsapp.api,
    }


def connect(line: str, slack: FakeSlack, whatsapp: FakeWhatsApp) -> None:
    """Tells the fakes where the adapters listen, by the line that those print."""
    assert line.startswith("listening on "), line
    address = line.split()[-1]
    slack.events_url, whatsapp.webhook = f"{address}/slack/events", f"{address}/whatsapp/webhook"
