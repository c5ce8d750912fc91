"""Floor 4, identification: from photos and people's opinions to occurrences that may be trusted.

votes           many determinations of an observation -> one label, its confidence, and each user's weight
observations    the store: observations, images, an append-only log of votes, label state
records         what the store says of an observation, as a row of a plain table in Darwin Core terms
simulated       observers of a virtual world: their photos, votes and mistakes, and the truth

Nothing here imports torch; the classifier, which does, is imported where it is used.
"""
