"""What aftercall knows: calls, deliveries, how they move. Imports neither `api` nor `worker`."""

#: The one place that says it: the build, the command, the API and the User-Agent read it here.
__version__ = "0.1.0"
