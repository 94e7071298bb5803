"""The HTTP API of the station, below ``/api/v1``: JSON in snake_case, times in UTC, errors in one form.

Lists that grow are read in pages: ``items``, and ``next``, which is the ``before`` of the next page. Each module holds
the routes of one concern; `context` what they share, `answers` what they answer with.
"""
