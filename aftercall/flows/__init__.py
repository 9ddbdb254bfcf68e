"""One file a verb. Flows own the transactions and put the rooms below them in order."""
