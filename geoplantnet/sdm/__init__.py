"""Floor 4: species distribution models, from training to dense mapping. The only room beside `identify` that needs torch."""
