"""What aftercall knows: calls, deliveries, how they move. Imports neither `api` nor `worker`."""
