"""The hospitals as a study sees them, over Flower or in this process."""
