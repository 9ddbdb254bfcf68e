"""The only room that knows Twenty2: what it sends, what it answers, how to ask it."""
