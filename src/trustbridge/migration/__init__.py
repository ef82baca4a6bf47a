"""From two clusters to phones that have moved: the exchange of certificates, its proof, and what stands on them."""
