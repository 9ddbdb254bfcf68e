"""The only room that knows destinations: what they get, how it is signed and sent."""
