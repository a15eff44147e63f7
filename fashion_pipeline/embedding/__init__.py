"""FashionSigLIP: weights, fingerprint, and vectors in batches."""
