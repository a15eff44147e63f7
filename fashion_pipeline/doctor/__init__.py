"""``fashion-pipeline doctor``: a shop and a sample of its pictures, tried as the pipeline would use them.

Composed above the rooms: the shop is examined by ``shop.doctor``, pictures are fetched and judged
by ``images`` itself. Neither databases nor the home are touched.
"""
