"""What a person sees: analysis (numbers) and figures (drawings) over run folders."""
