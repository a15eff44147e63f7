"""Images: fetch their bytes, decode them safely, and judge their quality."""
