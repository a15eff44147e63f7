"""``fashion-pipeline doctor``: examines a shop and a sample of its images in the way the pipeline uses them.

``shop`` examines the shop; ``images`` fetches and judges images with the code of the pipeline. No
database and no file of the home is touched.
"""
