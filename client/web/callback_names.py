"""Names in callbacks: the field that asks for one, and the headers of the message, which Standard Webhooks defines."""

CALLBACK_URL = "callback_url"
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
