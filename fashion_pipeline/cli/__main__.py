"""``python -m fashion_pipeline.cli``: the same as ``fashion-pipeline``."""

from fashion_pipeline.cli.main import main

main()
