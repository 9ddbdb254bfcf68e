"""Celery: the app, the tasks, the schedule. Wakes, runs one flow, sleeps."""
