//! Tells events to a webhook.
