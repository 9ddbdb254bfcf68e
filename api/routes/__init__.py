"""The operator's API, one file a noun. Each route calls one flow."""
