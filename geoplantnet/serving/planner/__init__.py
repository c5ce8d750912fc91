"""What the planners' page asks for beside maps: species by name, uploads, places, how a map was made."""
