"""Fake CRMs on 127.0.0.1: each as strict about fields, headers and states as its vendor's pages."""
