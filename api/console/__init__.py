"""The console at `/`: pages for people, rendered here, without a build step or anybody's script.

A page is a route file, a template and, where there is something to decide, a flow.
`docs/console.md` says how one is written and which macros there are.
"""
