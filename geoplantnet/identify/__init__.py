"""Floor 4, identification: from photos and people's opinions to occurrences that may be trusted.

votes           many determinations of an observation -> one label, its confidence, and each user's weight
photos          what strangers send: limits, decoding apart, the file without its metadata, the square a net sees
observations    the store: observations, images, an append-only log of votes, label state
records         what the store says of an observation, as a row of a plain table in Darwin Core terms
quality         which records may be trusted, and under which reason each of the others is counted
calibration     a model's score -> how often it is right
regions         countries and other polygons of the world: which a point lies in, how far the border is
floras          checklists of species by region
engine          photos of a plant -> species: fusion, prior and projects around a net
network         the seam between a trained net and what is done with its answers
fusion          several photos of one plant -> one answer
prior           the place as evidence: what a map or a flora says of it
projects        floras that an identification may be limited to, over the species a net knows
crawl           of pages an image search returned, those whose image most likely shows the species
export          trusted records -> rows of a Darwin Core Archive
protection      records of sensitive species: where they are told, and what of them is not said
bridge          trusted records -> the presence-only occurrences a species distribution model learns from
similarity      the most similar observations to a photo: binary codes, an index of images
metrics         how good a classifier's answers are; sets of answers with a promised coverage
temperature     what a net's logits are divided by, so that its probabilities hold
levels          genera and families: sums over species; labels at any rank
partition       species in groups, an expert each behind a master
simulated       observers of a virtual world: their photos, votes and mistakes, and the truth

Nothing here imports torch; the classifier, which does, is imported where it is used.
"""
