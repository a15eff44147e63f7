"""Pictures: fetch their bytes, decode them safely, judge whether they are good enough."""
