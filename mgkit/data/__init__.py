"""What a clip is: the clip folder, its readers, and batches made of it. Imports nothing else of mgkit."""
