"""Lets `python -m blemish` be the command line."""

from blemish.cli import main

main()
