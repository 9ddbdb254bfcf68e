"""The decisions, pure: standard library only, no clock, no network, no database."""
